// Finds the fastest choices whose whole run stays below the line, and says what else was possible.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compile/op_rates.h"
#include "compile/run_plan.h"
#include "compile/suggestion.h"
#include "compile/train_program.h"

namespace plimsoll {

struct DiskRate {
  double bytes_per_second = 1e9;   // of direct reads
  std::string source = "assumed";  // or "measured", "given"
};

// What the machine and the backend add to a plan.
struct PlanTarget {
  WorkspaceBytes workspace_bytes;
  int64_t runtime_overhead_bytes = 0;  // stated upper bound of everything outside the arena
  int64_t least_total_bytes = 0;       // what the process needs before there is an arena: reading the data
  double flops_per_second = 1e12;      // matmul rate and bandwidth, where no rates were fitted
  double bytes_per_second = 1e10;
  double unpacked_per_second = 4e9;      // packed weights that a product widens on the way
  std::shared_ptr<const OpRates> rates;  // of this machine; null: the two figures above
  std::function<DiskRate()> disk;        // asked only where something may stream; null: as assumed
};

// Another plan of the same recipe, in short.
struct PlanAlternative {
  TrainChoices choices;
  int64_t grad_accum_steps = 1;
  int64_t total_bytes = 0;
  double predicted_seconds = 0;
};
struct OtherLine {
  int64_t budget_bytes = 0;
  std::optional<PlanAlternative> plan;  // nullopt: nothing fits
};

struct TrainPlan {
  TrainChoices choices;
  int64_t grad_accum_steps = 1;
  TrainProgram program;
  RunPlan run;
  int64_t overhead_bytes = 0;
  int64_t total_bytes = 0;                   // arena + overhead
  bool fits = true;                          // total_bytes ≤ the recipe's line
  int64_t smallest_budget_bytes = 0;         // the least line that works with this recipe
  int64_t disk_bytes_per_step = 0;           // read, and with streamed inputs written
  DiskRate disk;                             // where something streams
  bool calibrated = false;                   // seconds are by fitted rates
  double compute_seconds = 0;                // of a step, without waiting for the disk
  double predicted_seconds = 0;              // of a step; choices are ranked by it
  std::string why;                           // what was chosen and why, in one phrase
  std::vector<Suggestion> suggestions;       // cheapest changes first; when it does not fit, changes that would
  std::optional<PlanAlternative> runner_up;  // the fastest of those that fit and cut the work in another way
  std::optional<OtherLine> more, less;       // with a tenth more or less than the recipe's line
};

// Rows of an optimizer step: the global batch, else the micro-batch, else 4.
int64_t rows_per_step(const Recipe& recipe);

// Never throws for a plan that doesn't fit: `fits` is false and the plan is the smallest one.
// `alternatives`: fill in runner_up, more, less and suggestions.
TrainPlan choose_plan(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                      const PlanTarget& target, bool alternatives = true);

// The least bytes of a recipe at other lengths and micro-batches: a lower bound of the whole process, without a plan of
// each. It is what the plan takes wherever its packing is tight. The arguments must outlive it; one thread.
class LeastBytes {
 public:
  // `plan`: any of this recipe, in which what streams is settled.
  LeastBytes(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources, const PlanTarget& target,
             const TrainPlan& plan);
  int64_t at(int64_t seq_len, int64_t micro_batch) const;
  // The same, continued from a model of few layers: quick, and right where all layers are alike.
  int64_t guess(int64_t seq_len, int64_t micro_batch) const;

 private:
  int64_t step_bytes(const ModelConfig& config, int64_t seq_len, int64_t micro_batch) const;
  int64_t total_bytes(int64_t step_bytes) const;

  const ModelConfig& config_;
  const Recipe& recipe_;
  const TrainSources& sources_;
  const PlanTarget& target_;
  int64_t persistent_bytes_ = 0, other_phases_bytes_ = 0;  // in the arena
};

// The plan of the least memory that this recipe works in; its line is not looked at.
TrainPlan smallest_plan(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                        const PlanTarget& target);

}  // namespace plimsoll
