// What can be done with a model in so many bytes: every method, with the longest row and the most rows at once that
// fit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/recipe/recipe.h"

namespace plimsoll {

inline constexpr int64_t kSeqLenStep = 64;        // longest rows are found to a multiple of it
inline constexpr int64_t kMostRowsAtOnce = 1024;  // larger micro-batches are not looked for

// One method. Lengths and rows at once are those of a step of one micro-batch that fits with everything else chosen for
// few bytes; plan, least and speed are of the recipe's own seq_len and batch, as `plan` with `flags` gives them.
struct FitRow {
  std::string name;     // "LoRA"
  std::string flags;    // "--method lora --stream off"
  std::string problem;  // not empty: the method does not work for this model, and why
  bool fits = false;
  int64_t longest_seq_len = 0;      // one row at a time; 0: not even kSeqLenStep tokens fit
  bool longest_is_context = false;  // the model's context ends before the memory does
  int64_t largest_micro_batch = 0;  // rows of seq_len; 0: not even one
  int64_t smallest_budget_bytes = 0;
  int64_t total_bytes = 0;  // of the fastest plan that fits, else of the smallest
  std::optional<double> predicted_tokens_per_second;
};

struct FitTable {
  std::string model;
  int64_t budget_bytes = 0, seq_len = 0, rows_per_step = 0, context_length = 0;
  int threads = 0;
  bool calibrated = false;
  std::vector<FitRow> rows;  // best quality first
  // Of those that fit: the first, and that of the fewest bytes. -1: none.
  int best = -1, cheapest = -1;
};

// `recipe` has a line, and leaves method, quant, precision, optimizer, stream and micro-batch open. Rows are planned by
// all the threads that this process may use.
FitTable fit_methods(const Recipe& recipe);

}  // namespace plimsoll
