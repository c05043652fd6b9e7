#include "data/batch_order.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace plimsoll {
namespace {

// One example into the row from column `start`. Returns the labels that count.
int64_t place_example(std::span<int32_t> ids, std::span<int32_t> labels, int32_t segment, size_t start,
                      std::span<int32_t> positions, std::span<int32_t> segments, std::span<int32_t> starts) {
  int64_t counted = 0;
  size_t first = ids.size();  // first position that is not masked
  for (size_t t = 0; t < ids.size(); ++t) {
    const bool masked = ids[t] < 0;
    if (!masked) first = std::min(first, t);
    positions[t] = static_cast<int32_t>(t);
    segments[t] = masked ? -1 : segment;
    starts[t] = static_cast<int32_t>(start + (masked ? t : first));
    labels[t] = masked || t + 1 == ids.size() ? kIgnoredLabel : labels[t + 1];
    counted += labels[t] != kIgnoredLabel ? 1 : 0;
    if (masked) ids[t] = -1 - ids[t];
  }
  return counted;
}

void pad(std::span<int32_t> ids, std::span<int32_t> labels, size_t start, int32_t pad_id, std::span<int32_t> positions,
         std::span<int32_t> segments, std::span<int32_t> starts) {
  std::fill(ids.begin(), ids.end(), pad_id);
  std::fill(labels.begin(), labels.end(), kIgnoredLabel);
  std::fill(positions.begin(), positions.end(), 0);
  std::fill(segments.begin(), segments.end(), -1);
  for (size_t t = 0; t < starts.size(); ++t) starts[t] = static_cast<int32_t>(start + t);
}

}  // namespace

BatchOrder::BatchOrder(int64_t examples, std::function<int64_t(int64_t)> length, const PackingOptions& options,
                       int64_t rows_per_step)
    : examples_(examples), length_(std::move(length)), options_(options), rows_per_step_(rows_per_step) {
  PLIMSOLL_CHECK(examples > 0 && rows_per_step > 0, "an order needs examples and rows");
}

EpochRows& BatchOrder::epoch_rows(int64_t epoch) {
  if (planned_epoch_ != epoch) {
    epoch_.reset();  // before the next one takes its place
    epoch_.emplace(examples_, length_, options_, epoch);
    planned_epoch_ = epoch;
  }
  return *epoch_;
}

int64_t BatchOrder::first_row(int64_t epoch) {
  while (static_cast<int64_t>(epoch_begin_.size()) <= epoch) {
    const int64_t known = static_cast<int64_t>(epoch_begin_.size()) - 1;
    // Without shuffled packing all epochs have the same number of rows.
    const bool same = known > 0 && !(options_.packing && options_.shuffle);
    epoch_begin_.push_back(epoch_begin_.back() + (same ? epoch_begin_[1] : epoch_rows(known).rows()));
  }
  return epoch_begin_[static_cast<size_t>(epoch)];
}

int64_t BatchOrder::rows_of_epoch(int64_t epoch) { return first_row(epoch + 1) - first_row(epoch); }

int64_t BatchOrder::steps_of_epochs(double epochs) {
  PLIMSOLL_CHECK(std::isfinite(epochs) && epochs > 0 && epochs < 1e6, "a run of so many epochs cannot be planned");
  const auto whole = static_cast<int64_t>(std::floor(epochs));
  const double part = epochs - std::floor(epochs);
  double rows = static_cast<double>(first_row(whole));
  if (part > 0) rows += part * static_cast<double>(rows_of_epoch(whole));
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(rows / static_cast<double>(rows_per_step_) - 1e-9)));
}

void BatchOrder::rows_of_step(int64_t step, StepRows& rows) {
  rows.examples.clear();
  rows.row_begin.assign(1, 0);
  int64_t row = step * rows_per_step_;
  int64_t epoch = 0;
  while (first_row(epoch + 1) <= row) ++epoch;
  for (int64_t i = 0; i < rows_per_step_; ++i, ++row) {
    if (row == first_row(epoch + 1)) ++epoch;
    const int64_t begin = first_row(epoch);
    const std::span<const int32_t> examples = epoch_rows(epoch).row(row - begin);
    rows.examples.insert(rows.examples.end(), examples.begin(), examples.end());
    rows.row_begin.push_back(static_cast<int64_t>(rows.examples.size()));
  }
}

int64_t BatchOrder::bytes() const {
  return (epoch_ ? epoch_->bytes() : 0) + static_cast<int64_t>(epoch_begin_.capacity() * sizeof(int64_t));
}

int64_t fill_batch(const TokenizedDataset& dataset, const StepRows& rows, int64_t first, int64_t count, int64_t seq_len,
                   int32_t pad_id, const BatchView& batch) {
  const auto values = static_cast<size_t>(count * seq_len);
  for (const auto& array :
       {batch.input_ids, batch.labels, batch.position_ids, batch.segment_ids, batch.segment_start}) {
    PLIMSOLL_CHECK(array.size() == values, "an array of the batch has another size");
  }
  const auto width = static_cast<size_t>(seq_len);
  int64_t counted = 0;
  for (int64_t r = 0; r < count; ++r) {
    const size_t row_start = static_cast<size_t>(r) * width;
    size_t at = 0;
    const auto part = [&](std::span<int32_t> array, size_t length) { return array.subspan(row_start + at, length); };
    int32_t segment = 0;
    const std::span<const int32_t> examples =
        first + r < rows.rows() ? rows.row(first + r) : std::span<const int32_t>();
    for (const int32_t example : examples) {
      const auto length = static_cast<size_t>(dataset.length(example));
      PLIMSOLL_CHECK(at + length <= width, "the examples of a row are longer than the row");
      const auto ids = part(batch.input_ids, length), labels = part(batch.labels, length);
      dataset.read(example, ids, labels);
      counted += place_example(ids, labels, segment++, at, part(batch.position_ids, length),
                               part(batch.segment_ids, length), part(batch.segment_start, length));
      at += length;
    }
    const size_t rest = width - at;
    pad(part(batch.input_ids, rest), part(batch.labels, rest), at, pad_id, part(batch.position_ids, rest),
        part(batch.segment_ids, rest), part(batch.segment_start, rest));
  }
  return counted;
}

}  // namespace plimsoll
