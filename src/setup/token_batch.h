// The inputs of a micro-step, as the kernels read them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/batch_order.h"
#include "runtime/executor.h"

namespace plimsoll {

// Row-major (batch, length). Labels are aligned: labels[t] is the token to predict at t, or kIgnoredLabel.
struct TokenBatch {
  int64_t batch = 0, length = 0;
  std::vector<int32_t> ids, labels, positions, segments, segment_start;

  TokenBatch() = default;
  TokenBatch(int64_t batch, int64_t length);

  BatchView view();
  int64_t counted_tokens() const;  // labels that count
  int64_t real_tokens() const;     // not padding
};

// segment_start[t]: index in its row of the first token with t's segment id; a negative id is its own start.
void fill_segment_start(int64_t length, std::span<const int32_t> segments, std::span<int32_t> segment_start);

// Copies `values` into the input `name` of the phase; a phase that has no such input is left alone.
void write_input(const Executor& executor, const char* name, std::span<const int32_t> values);
void write_input(const Executor& executor, const char* name, float value);

void write_batch(const Executor& executor, const TokenBatch& batch, float loss_scale);
void write_inv_freq(const Executor& executor, std::span<const float> inv_freq);

// The sum of the scalars that a loss phase leaves behind.
double read_loss(const Executor& executor);

}  // namespace plimsoll
