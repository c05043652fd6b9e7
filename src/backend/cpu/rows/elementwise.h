// Plain loops over memory: add, scale, cast, fill, column sums. f32 or bf16 elements, arithmetic in f32.
// All split the work into tiles by shape only (same bits for any thread count) and need no workspace but bias_grad.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

// out = a + b over n elements of `dtype`; out may be a or b.
void add(ThreadPool& pool, DType dtype, int64_t n, const void* a, const void* b, void* out);
// out = factor · a; out may be a.
void scale(ThreadPool& pool, DType dtype, int64_t n, const void* a, float factor, void* out);
// out = cap · tanh(a / cap); out may be a.
void softcap(ThreadPool& pool, DType dtype, int64_t n, const void* a, float cap, void* out);
// out = a in another type, rounded to nearest even; f32, bf16 and f16 in any combination. Not in place.
void cast(ThreadPool& pool, int64_t n, DType from, const void* a, DType to, void* out);
void fill_zero(ThreadPool& pool, int64_t bytes, void* out);

// d_bias[j] += sum over rows of dy[i, j]; dy (rows, columns) of `dtype`, d_bias f32.
// Rows are summed in fixed blocks, the blocks in order.
void bias_grad(ThreadPool& pool, DType dtype, int64_t rows, int64_t columns, const void* dy, float* d_bias,
               void* workspace);
int64_t bias_grad_workspace_bytes(int64_t rows, int64_t columns);

}  // namespace plimsoll::cpu
