// Mean negative log-likelihood of a model over a data file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/recipe.h"

namespace plimsoll {

struct EvaluateReport {
  double loss = 0;  // mean over the counted tokens
  double perplexity = 0;
  int64_t tokens = 0;
  int64_t peak_resident_bytes = 0;
};

// Of the recipe: model, adapter, data, seq_len, packing, loss_on, precision, threads, memory_bytes.
EvaluateReport run_evaluation(const Recipe& recipe);

}  // namespace plimsoll
