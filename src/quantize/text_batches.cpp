#include "quantize/text_batches.h"

#include <malloc.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/permutation.h"
#include "data/batch_order.h"
#include "train/train_data.h"

namespace plimsoll {
namespace {

constexpr int64_t kBytesPerToken = 5 * 4;  // the arrays of a TokenBatch
constexpr uint64_t kSeed = 0;

Recipe recipe_of(const ModelFiles& model, const std::vector<std::string>& files, int64_t length) {
  Recipe recipe;
  recipe.model = model.path;
  recipe.data = files;
  recipe.seq_len = length;
  recipe.shuffle = false;
  return recipe;
}

}  // namespace

TextBatches TextBatches::joined(const ModelFiles& model, const std::vector<std::string>& files, int64_t length,
                                int64_t rows) {
  TextBatches out;
  out.length_ = length;
  {
    const TokenizedDataset dataset = open_dataset(model, recipe_of(model, files, length), files);
    const Permutation order(static_cast<uint64_t>(dataset.size()), kSeed, 0);
    std::vector<int32_t> ids, labels, row;
    for (uint64_t at = 0; at < static_cast<uint64_t>(dataset.size()); ++at) {
      const auto example = static_cast<int64_t>(order.at(at));
      const auto tokens = static_cast<size_t>(dataset.length(example));
      ids.resize(tokens);
      labels.resize(tokens);
      dataset.read(example, ids, labels);
      for (const int32_t id : ids) {
        row.push_back(id < 0 ? -1 - id : id);
        if (static_cast<int64_t>(row.size()) < length) continue;
        TokenBatch batch(1, length);
        batch.ids = row;
        std::fill(batch.labels.begin(), batch.labels.end(), kIgnoredLabel);
        std::iota(batch.positions.begin(), batch.positions.end(), 0);
        fill_segment_start(length, batch.segments, batch.segment_start);
        out.batches_.push_back(std::move(batch));
        row.clear();
        if (out.count() == rows) break;
      }
      if (out.count() == rows) break;
    }
  }
  ::malloc_trim(0);
  if (out.batches_.empty())
    throw caller_error("--calibrate", "the files hold less than one row of " + std::to_string(length) + " tokens",
                       "give more text, or a smaller --seq-len");
  return out;
}

TextBatches TextBatches::packed(const ModelFiles& model, const std::vector<std::string>& files, int64_t length,
                                int64_t rows) {
  TextBatches out;
  out.length_ = length;
  {
    const TokenizedDataset dataset = open_dataset(model, recipe_of(model, files, length), files);
    BatchOrder order(
        dataset.size(), [&](int64_t i) { return dataset.length(i); }, {length, true, false, 0}, 1);
    const int64_t count = rows > 0 ? std::min(rows, order.rows_of_epoch(0)) : order.rows_of_epoch(0);
    StepRows step;
    for (int64_t row = 0; row < count; ++row) {
      order.rows_of_step(row, step);
      TokenBatch batch(1, length);
      fill_batch(dataset, step, 0, 1, length, pad_id_of(model.config), batch.view());
      out.batches_.push_back(std::move(batch));
    }
  }
  ::malloc_trim(0);
  return out;
}

int64_t TextBatches::bytes() const { return count() * length_ * kBytesPerToken; }

int64_t TextBatches::most_bytes(const ModelFiles& model, const std::vector<std::string>& files, int64_t length,
                                int64_t rows, int threads) {
  const DataExtent data = measure_data(recipe_of(model, files, length));
  const int64_t reading = reading_bytes(model.config, threads, data);
  return reading - runtime_overhead_bytes(model.config, threads, {}) + rows * length * kBytesPerToken;
}

}  // namespace plimsoll
