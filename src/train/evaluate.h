// Mean negative log-likelihood of a model over a data file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/recipe/recipe.h"
#include "data/dataset.h"
#include "runtime/executor.h"
#include "setup/token_batch.h"

namespace plimsoll {

struct EvaluateReport {
  double loss = 0;  // mean over the counted tokens
  double perplexity = 0;
  int64_t tokens = 0;
  int64_t peak_resident_bytes = 0;
};

// Of the recipe: model, adapter, data, seq_len, packing, loss_on, precision, threads, memory_bytes.
EvaluateReport run_evaluation(const Recipe& recipe);

struct DatasetLoss {
  double sum = 0;  // of -log p over the counted tokens
  int64_t counted_tokens = 0;
  double mean() const { return counted_tokens > 0 ? sum / static_cast<double>(counted_tokens) : 0.0; }
};

// The whole dataset in its own order through a loss phase of batch.batch × batch.length tokens; `batch` is scratch.
DatasetLoss evaluate_dataset(const Executor& evaluate, const TokenizedDataset& dataset, bool packing, int32_t pad_id,
                             TokenBatch& batch, HostServices* host = nullptr);

}  // namespace plimsoll
