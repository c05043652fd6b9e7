// Plan a run, then run it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "compile/choose_plan.h"
#include "compile/plan_report.h"
#include "config/recipe/recipe.h"
#include "runtime/executor.h"

namespace plimsoll {

// Called after every step, on the calling thread; must not throw.
struct TrainProgress {
  int64_t step = 0, steps = 0;
  double loss = 0;
  double tokens_per_second = 0;
  int64_t resident_bytes = 0;
  int64_t memory_bytes = 0;  // the line; 0: none
  double seconds_left = 0;
  int64_t skipped_steps = 0;              // fp16: of the run so far
  std::optional<double> loss_scale = {};  // fp16
};

struct TrainOptions {
  Recipe recipe;
  std::string out;
  bool resume = false;
  bool profile = false;                            // note the time per kind of op on stderr at the end
  std::function<void(const PlanReport&)> on_plan;  // before anything is allocated
  // With the plan and the time of each kind of op in the steps of this run; asks for a profile.
  std::function<void(const TrainPlan&, const Profile&)> on_profile;
  std::function<void(const TrainProgress&)> on_progress;
  std::function<void()> on_begin;     // before the first step
  std::function<bool()> interrupted;  // asked after every step but the last; true: save a checkpoint and stop
};

struct TrainReport {
  int64_t steps = 0;
  double final_loss = 0;
  std::optional<double> eval_loss;
  std::optional<int64_t> skipped_steps;  // fp16
  double tokens_per_second = 0;
  int64_t arena_bytes = 0, planned_total_bytes = 0, peak_resident_bytes = 0;
  std::string output;        // adapter/ or model/ in the output folder
  bool interrupted = false;  // `steps` are done, `output` is the checkpoint
  bool was_done = false;     // a run that was finished before: nothing was trained
};

// `ir_folder`: where to write the graph after each pass and of each phase, as text; empty: nowhere.
PlanReport plan_training(const Recipe& recipe, bool with_buffers, const std::string& ir_folder = "");
TrainReport run_training(const TrainOptions& options);

}  // namespace plimsoll
