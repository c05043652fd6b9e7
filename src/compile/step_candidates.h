// What each choice of a plan would cost: bytes of the train step and seconds of an optimizer step, without placing a
// buffer. A search asks for hundreds of them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "compile/choose_plan.h"
#include "compile/train_program.h"

namespace plimsoll {

struct CandidateCost {
  int64_t step_bytes = 0;      // lower bound of the train step's own buffers
  double seconds = 0;          // of a whole optimizer step
  double compute_seconds = 0;  // of it, without waiting for the disk
  int64_t disk_bytes = 0;      // read and written in a whole optimizer step
};

// Each step is built once for all sizes of a loss chunk, and kept as numbers. One thread. The arguments must outlive
// it.
class StepCandidates {
 public:
  StepCandidates(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                 const PlanTarget& target);

  const StepBase& base(int64_t micro_batch);
  const CandidateCost& cost(const TrainChoices& choices);

  int64_t layers() const { return config_.layers; }
  // What the recipe leaves open. Micro-batches: divisors of the global batch, the largest first. Chunks: the largest
  // first. Layers to recompute: fewest and most.
  std::vector<int64_t> micro_batches() const;
  std::vector<int64_t> chunk_sizes(int64_t micro_batch) const;
  std::pair<int64_t, int64_t> recompute_range() const;
  std::vector<bool> attention_kept() const;
  // Bytes of weights that the first `layers` layers leave on disk, each rounded up as it would lie in the arena.
  int64_t streamed_weight_bytes(int64_t layers);

 private:
  using Key = std::array<int64_t, 5>;  // all of TrainChoices but the chunk

  std::vector<CandidateCost> compute(const TrainChoices& choices);
  double update_seconds();
  double op_seconds(const Graph& graph, const Op& op) const;
  double disk_rate();

  const ModelConfig& config_;
  const Recipe& recipe_;
  const TrainSources& sources_;
  const PlanTarget& target_;
  std::map<int64_t, StepBase> bases_;
  std::map<Key, std::vector<CandidateCost>> costs_;  // by the place of the chunk in chunk_sizes
  double update_seconds_ = -1, disk_rate_ = 0;
};

}  // namespace plimsoll
