// Finds the fastest choices whose whole run stays below the line, and says what else was possible.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compile/run_plan.h"
#include "compile/suggestion.h"
#include "compile/train_program.h"

namespace plimsoll {

// What the machine and the backend add to a plan.
struct PlanTarget {
  WorkspaceBytes workspace_bytes;
  int64_t runtime_overhead_bytes = 0;    // stated upper bound of everything outside the arena
  int64_t least_total_bytes = 0;         // what the process needs before there is an arena: reading the data
  double flops_per_second = 1e12;        // matmul rate to rank choices by; only ratios matter
  double disk_bytes_per_second = 1.0e9;  // of direct reads; a fast disk has more
  double bytes_per_second = 1e10;
};

struct TrainPlan {
  TrainChoices choices;
  int64_t grad_accum_steps = 1;
  TrainProgram program;
  RunPlan run;
  int64_t overhead_bytes = 0;
  int64_t total_bytes = 0;              // arena + overhead
  bool fits = true;                     // total_bytes ≤ the recipe's line
  int64_t smallest_budget_bytes = 0;    // the least line that works with this recipe
  int64_t streamed_bytes_per_step = 0;  // read from disk
  double compute_seconds = 0;           // of a step, without waiting for the disk
  double predicted_seconds = 0;         // of a step; a ranking, not a promise
  std::string why;                      // what was chosen and why, in one phrase
  std::vector<Suggestion> suggestions;  // cheapest changes first; when it does not fit, changes that would
  // The next faster plan that did not fit, if any: how much faster and what it needs.
  std::optional<double> faster_ratio;
  int64_t faster_total_bytes = 0;
};

// Rows of an optimizer step: the global batch, else the micro-batch, else 4.
int64_t rows_per_step(const Recipe& recipe);

// Never throws for a plan that doesn't fit: `fits` is false and the plan is the smallest one.
TrainPlan choose_plan(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                      const PlanTarget& target);

}  // namespace plimsoll
