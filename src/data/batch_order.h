// Which rows each step sees, and the arrays of a batch.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "data/dataset.h"
#include "data/packing.h"

namespace plimsoll {

// Some rows of an epoch, copied: what one step (or one micro-batch) works on.
struct StepRows {
  std::vector<int32_t> examples;
  std::vector<int64_t> row_begin{0};

  int64_t rows() const { return static_cast<int64_t>(row_begin.size()) - 1; }
  std::span<const int32_t> row(int64_t index) const {
    const auto begin = static_cast<size_t>(row_begin[static_cast<size_t>(index)]);
    return {examples.data() + begin, static_cast<size_t>(row_begin[static_cast<size_t>(index) + 1]) - begin};
  }
};

// The rows of all epochs behind one another, cut into steps of rows_per_step rows: a step that reaches the end of an
// epoch goes on with the next one, so that every step is full. The order is a pure function of (lengths, options), so a
// run can go on at any step; asking for an earlier step, or one epochs ahead, plans the epochs before it again.
// One thread at a time.
class BatchOrder {
 public:
  BatchOrder(int64_t examples, std::function<int64_t(int64_t)> length, const PackingOptions& options,
             int64_t rows_per_step);

  // Steps until `epochs` epochs are seen, at least 1: the last step may reach into the epoch behind.
  int64_t steps_of_epochs(double epochs);
  int64_t rows_of_epoch(int64_t epoch);

  // Rows of step `step` (from 0) into `rows`, whose memory is reused.
  void rows_of_step(int64_t step, StepRows& rows);

  int64_t bytes() const;  // resident now; never more than EpochRows::peak_bytes

 private:
  EpochRows& epoch_rows(int64_t epoch);
  int64_t first_row(int64_t epoch);  // of the epoch, counted from the start of the run

  int64_t examples_;
  std::function<int64_t(int64_t)> length_;
  PackingOptions options_;
  int64_t rows_per_step_;
  std::optional<EpochRows> epoch_;
  int64_t planned_epoch_ = -1;
  std::vector<int64_t> epoch_begin_{0};  // first row of each epoch known so far
};

// Arrays of one batch, each of rows × seq_len int32, row-major, owned by the caller.
struct BatchView {
  std::span<int32_t> input_ids;
  std::span<int32_t> labels;         // already shifted: the id to predict at this position; kIgnoredLabel: none
  std::span<int32_t> position_ids;   // from 0 in each example; 0 in padding
  std::span<int32_t> segment_ids;    // 0, 1, 2 … in each row; -1 in padding
  std::span<int32_t> segment_start;  // index in the row of the first token of the token's segment; in padding its own
};

// Fills `batch` with the rows [first, first + count) of `rows`; rows that do not exist, and what examples leave free,
// are padding (input_ids `pad_id`). The last position of an example has no label. A ready row's positions with
// attention_mask 0 are padding too (segment -1, no label), but keep their place: positions count on through them, as in
// Hugging Face without position_ids. Returns the labels that count. Allocates nothing.
int64_t fill_batch(const TokenizedDataset& dataset, const StepRows& rows, int64_t first, int64_t count, int64_t seq_len,
                   int32_t pad_id, const BatchView& batch);

}  // namespace plimsoll
