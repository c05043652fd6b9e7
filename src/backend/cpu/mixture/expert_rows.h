// Tokens laid out by expert, and what the experts gave joined again. Tensors of `dtype` are f32 or bf16; sums are f32,
// in the order of a row's choices.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

// x, y: (rows, width); sorted: (rows · top_k, width); slots, factors: (rows, top_k), see ops/mixture/route.cpp.
struct ExpertRows {
  int64_t rows = 0, top_k = 0, width = 0;
  DType dtype = DType::f32;
};
void expert_gather(ThreadPool& pool, const ExpertRows& shape, const void* x, const int32_t* slots, void* sorted);
// y = the sum over a row's choices of factor · sorted[slot] (factors null: 1); accumulate: added to y.
void expert_combine(ThreadPool& pool, const ExpertRows& shape, const void* sorted, const float* factors,
                    const int32_t* slots, bool accumulate, void* y);
// d_sorted may be sorted's own buffer.
void expert_combine_backward(ThreadPool& pool, const ExpertRows& shape, const void* dy, const void* sorted,
                             const float* factors, const int32_t* slots, void* d_sorted, float* d_factors);

}  // namespace plimsoll::cpu
