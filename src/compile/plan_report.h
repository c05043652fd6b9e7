// What `plimsoll plan` prints and a run writes to plan.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "compile/category.h"
#include "compile/suggestion.h"
#include "config/recipe/recipe.h"

namespace plimsoll {

const char* precision_name(DType precision);  // as --precision has it: "fp32", "bf16", "fp16"

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
  std::vector<Phase> phases;
  CategoryBytes category_bytes;

  int64_t micro_batch = 0, grad_accum_steps = 0, seq_len = 0, ce_chunk_rows = 0;
  int64_t recompute_layers = 0, layers = 0;
  bool keep_attention = false, streamed_inputs = false;
  int64_t streamed_layers = 0, streamed_file_bytes = 0, disk_bytes_per_step = 0;
  double disk_bytes_per_second = 0;
  std::string disk_source;                            // "measured", "given", "assumed"
  double compute_seconds = 0, predicted_seconds = 0;  // of a step; without and with waiting for the disk
  std::string rates_source;                           // of these seconds: "calibrated", "assumed"

  // Another plan of this recipe: what it would choose, need and take.
  struct Alternative {
    std::string choices;
    int64_t total_bytes = 0;
    double predicted_seconds = 0;
  };
  struct OtherLine {
    int64_t budget_bytes = 0;
    std::optional<Alternative> plan;  // nullopt: nothing fits
  };
  std::optional<Alternative> runner_up;
  std::optional<OtherLine> more, less;  // with a tenth more or less than the line
  std::string quant;                    // how frozen weights are held; empty: in the precision
  DType precision = DType::bf16;
  double router_aux_loss = 0;  // its weight; 0: none
  std::string why;             // "chosen: fastest that fits", "as given"
  std::vector<Suggestion> suggestions;
  std::vector<BufferRow> buffers;

  bool fits_line(const Suggestion& suggestion) const {
    return suggestion.total_bytes <= budget_bytes.value_or(suggestion.total_bytes);
  }
  bool streams() const { return disk_bytes_per_step > 0; }
  double tokens_per_step() const { return static_cast<double>(micro_batch * grad_accum_steps * seq_len); }
  int64_t peak_live_bytes() const { return category_bytes.sum(); }
  int64_t total_bytes() const { return arena_bytes + runtime_overhead_bytes; }
};

// What a plan over the line ends with (exit 3): the smallest budget that works and the changes that would fit, in
// bytes.
Error does_not_fit(const PlanReport& report);

std::string plan_report_json(const PlanReport& report);  // the document of the contract, without the buffers
std::string plan_buffers_csv(const PlanReport& report);  // header and one row a buffer

}  // namespace plimsoll
