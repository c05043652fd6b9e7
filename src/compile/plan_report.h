// What `plimsoll plan` prints and a run writes to plan.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compile/choose_plan.h"
#include "config/recipe.h"

namespace plimsoll {

struct PlanReport {
  struct Phase {
    std::string name;   // "load", "train step", "evaluate", "save", …
    int64_t bytes = 0;  // arena bytes it needs
    std::string op;     // where its peak is
  };
  struct BufferRow {  // --buffers
    std::string name, category, memory_space;
    int64_t size_bytes = 0, offset = 0, first = 0, last = 0;
    std::string phase;
  };

  std::string model_name, architecture;
  int64_t total_params = 0, trainable_params = 0;
  std::string trained;  // "LoRA r=16 on all linear layers"

  bool fits = true;
  std::optional<int64_t> budget_bytes;
  int64_t arena_bytes = 0, runtime_overhead_bytes = 0, lower_bound_bytes = 0, smallest_budget_bytes = 0;
  std::string peak_phase, peak_op;
  int64_t peak_live_bytes = 0;  // sum of category_bytes
  std::vector<Phase> phases;
  CategoryBytes category_bytes{};

  int64_t micro_batch = 0, grad_accum_steps = 0, seq_len = 0, ce_chunk_rows = 0;
  int64_t recompute_layers = 0, layers = 0;
  DType precision = DType::bf16;
  std::vector<std::string> reasons;  // what was chosen and why, a sentence each
  std::vector<Suggestion> suggestions;
  std::optional<double> faster_ratio;  // the next faster plan that does not fit
  int64_t faster_total_bytes = 0;
  std::vector<BufferRow> buffers;

  int64_t total_bytes() const { return arena_bytes + runtime_overhead_bytes; }
};

// `model_name` is what the user calls the model. With buffers: the persistent ones in phase "all", then those of each phase.
PlanReport make_plan_report(const ModelConfig& config, const Recipe& recipe, const TrainPlan& plan, std::string model_name,
                            bool with_buffers);

std::string plan_report_json(const PlanReport& report);  // the document of the contract, without the buffers
std::string plan_buffers_csv(const PlanReport& report);  // header and one row a buffer

}  // namespace plimsoll
