#include "setup/token_batch.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "arch/architecture.h"
#include "base/error.h"

namespace plimsoll {
namespace {

void write_bytes(const Executor& executor, const char* name, std::span<const std::byte> bytes) {
  const ValueId id = executor.plan().graph.find(name);
  if (id == kNoValue || executor.plan().value_offset[static_cast<size_t>(id)] < 0) return;
  PLIMSOLL_CHECK(executor.plan().graph.value(id).bytes() == static_cast<int64_t>(bytes.size()),
                 std::string(name) + " has another size");
  std::memcpy(executor.data(id), bytes.data(), bytes.size());
}

}  // namespace

TokenBatch::TokenBatch(int64_t rows, int64_t row_length) : batch(rows), length(row_length) {
  for (std::vector<int32_t>* array : {&ids, &labels, &positions, &segments, &segment_start})
    array->resize(static_cast<size_t>(rows * row_length));
}

BatchView TokenBatch::view() { return {ids, labels, positions, segments, segment_start}; }

int64_t TokenBatch::counted_tokens() const {
  return static_cast<int64_t>(labels.size()) - std::count(labels.begin(), labels.end(), kIgnoredLabel);
}

int64_t TokenBatch::real_tokens() const {
  return std::count_if(segments.begin(), segments.end(), [](int32_t segment) { return segment >= 0; });
}

void fill_segment_start(int64_t length, std::span<const int32_t> segments, std::span<int32_t> segment_start) {
  std::unordered_map<int32_t, int32_t> first;
  for (size_t i = 0; i < segments.size(); ++i) {
    const auto t = static_cast<int32_t>(static_cast<int64_t>(i) % length);
    if (t == 0) first.clear();
    segment_start[i] = segments[i] < 0 ? t : first.emplace(segments[i], t).first->second;
  }
}

void write_input(const Executor& executor, const char* name, std::span<const int32_t> values) {
  write_bytes(executor, name, std::as_bytes(values));
}

void write_input(const Executor& executor, const char* name, float value) {
  write_bytes(executor, name, std::as_bytes(std::span(&value, 1)));
}

void write_batch(const Executor& executor, const TokenBatch& batch, float loss_scale) {
  write_input(executor, input_names::kIds, batch.ids);
  write_input(executor, input_names::kLabels, batch.labels);
  write_input(executor, input_names::kPositions, batch.positions);
  write_input(executor, input_names::kSegments, batch.segments);
  write_input(executor, input_names::kSegmentStart, batch.segment_start);
  write_input(executor, input_names::kLossScale, loss_scale);
}

void write_inv_freq(const Executor& executor, std::span<const float> inv_freq) {
  write_bytes(executor, input_names::kInvFreq, std::as_bytes(inv_freq));
}

double read_loss(const Executor& executor) {
  double sum = 0;
  for (const ValueId output : executor.plan().graph.outputs) {
    float term = 0;
    std::memcpy(&term, executor.data(output), sizeof(term));
    sum += static_cast<double>(term);
  }
  return sum;
}

}  // namespace plimsoll
