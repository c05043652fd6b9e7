// What a mixture of experts does beside routing and its matmuls: laying tokens out by expert, joining results, the
// activation of gpt-oss, and the keys and values of multi-head latent attention. Tensors of `dtype` are f32 or bf16;
// sums are f32, in the order of a row's choices (of the heads).
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

// x, dx: `values` pairs of gate and up; y, dy: `values`. See ops/mixture/clamped_swiglu.cpp. dx may be x.
void clamped_swiglu_forward(ThreadPool& pool, float alpha, float limit, DType dtype, int64_t values, const void* x,
                            void* y);
void clamped_swiglu_backward(ThreadPool& pool, float alpha, float limit, DType dtype, int64_t values, const void* dy,
                             const void* x, void* dx);

// x (rows, a_width + b_width) to its parts and back. See ops/rows/split_columns.cpp.
void split_columns(ThreadPool& pool, DType dtype, int64_t rows, int64_t a_width, int64_t b_width, const void* x,
                   void* a, void* b);
void join_columns(ThreadPool& pool, DType dtype, int64_t rows, int64_t a_width, int64_t b_width, const void* a,
                  const void* b, void* x);

// See ops/expand_latent.cpp. dv may be null: zero.
struct LatentHeads {
  int64_t rows = 0, heads = 0, plain = 0, rotary = 0, value = 0;
  DType dtype = DType::f32;
};
void expand_latent_forward(ThreadPool& pool, const LatentHeads& shape, const void* kv, const void* k_rotary, void* k,
                           void* v);
void expand_latent_backward(ThreadPool& pool, const LatentHeads& shape, const void* dk, const void* dv, void* d_kv,
                            void* d_k_rotary);

}  // namespace plimsoll::cpu
