// The sum of squares of all gradients, for global-norm clipping: coefficient = min(1, max_norm / (sqrt(sum) + 1e-6)).
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"

namespace plimsoll::cpu {

// Adds up in double over fixed blocks of each span, blocks in order: the same bits for any thread count. Infinite where
// a magnitude reaches `limit`.
double sum_of_squares(ThreadPool& pool, std::span<const std::span<const float>> gradients, double limit,
                      void* workspace);
// For spans of these element counts: 8 bytes per block.
int64_t sum_of_squares_workspace_bytes(std::span<const int64_t> elements);

}  // namespace plimsoll::cpu
