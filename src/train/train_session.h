// A planned run with its memory: the arena, an executor for every phase, and the state they share.
#pragma once

#include <memory>
#include <optional>

#include "backend/cpu/cpu_backend.h"
#include "runtime/executor.h"
#include "setup/run_sources.h"
#include "setup/stream_services.h"
#include "setup/token_batch.h"
#include "train/train_data.h"

namespace plimsoll {

class TrainSession {
 public:
  // Allocates the arena and makes every library primitive; loads nothing yet. `plan` must outlive the session.
  TrainSession(const TrainPlan& plan, int threads);

  void load(const RunSources& sources, const std::string& out);

  // One optimizer step over `rows`; returns the mean loss of its counted tokens.
  struct StepResult {
    double loss = 0;
    double grad_norm = 0;
    int64_t tokens = 0;     // not padding
    bool overflow = false;  // a gradient was not finite: nothing was updated
  };
  // `updates`: optimizer steps done before; `first_draw`: micro-batches of the run before this step.
  StepResult step(const TrainData& data, const StepRows& rows, double lr, int64_t updates, int64_t first_draw,
                  double loss_scale = 1);

  // Mean loss over a whole dataset, in its own order.
  double evaluate(const TokenizedDataset& dataset, const Recipe& recipe, int32_t pad_id);

  const Executor& phase(const char* name) const;
  // Time per op kind of the steps so far, from start_profile() on; nullptr without it.
  void start_profile() { profile_.emplace(); }
  const Profile* profile() const { return profile_ ? &*profile_ : nullptr; }

  RunState& state() { return state_; }
  const WeightStream* stream() const { return stream_.get(); }
  ThreadPool& pool() { return pool_; }
  int64_t used_arena_bytes() const;  // highest byte that any phase touches

 private:
  const Executor* find_phase(const char* name) const;  // nullptr: the run has no such phase

  const TrainPlan& plan_;
  ThreadPool pool_;
  Arena arena_;
  std::vector<Executor> executors_;
  TokenBatch batch_;
  RunState state_;
  std::optional<Profile> profile_;
  std::unique_ptr<WeightStream> stream_;  // nullptr: all weights stay in memory
  std::unique_ptr<StreamServices> stream_services_;
};

}  // namespace plimsoll
