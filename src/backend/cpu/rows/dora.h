// Kernels of DoRA (ops/rows/dora.cpp) and of dropout. Arithmetic in f32; z, dy, weights and adapters are f32 or bf16.
// Tiles are cut by shape only: same bits for any thread count.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

struct DoraNormSpec {
  int64_t n = 0, k = 0, rank = 0;
  DType dtype = DType::f32;      // of a and b
  DType weight = DType::f32;     // as dtype, or packed (quant/packed_matrix.h) where weight is (n, k)
  bool transpose_weight = true;  // weight is (n, k), else (k, n)
  float scale = 1;
};

// norm[j] = ‖weight_j + scale · Σ_r b[j, r] a[r]‖₂; a (rank, k), b (n, rank).
void dora_norm(ThreadPool& pool, const DoraNormSpec& spec, const void* weight, const void* a, const void* b,
               float* norm, void* workspace);
int64_t dora_norm_workspace_bytes(const DoraNormSpec& spec);

// y = z · magnitude / norm + bias for each column; y may be z. `bias` (columns) of `bias_dtype`, may be null.
void scale_columns(ThreadPool& pool, DType dtype, int64_t rows, int64_t columns, const void* z, const float* magnitude,
                   const float* norm, const void* bias, DType bias_dtype, void* y);
// The same for rows, without bias.
void scale_rows(ThreadPool& pool, DType dtype, int64_t rows, int64_t columns, const void* z, const float* magnitude,
                const float* norm, void* y);
// dz = dy · magnitude / norm; dz may be dy. d_magnitude[j] += Σ dy z / norm[j] over rows in fixed blocks; may be null.
void scale_columns_grad(ThreadPool& pool, DType dtype, int64_t rows, int64_t columns, const void* dy, const void* z,
                        const float* magnitude, const float* norm, float* d_magnitude, void* dz);

// y = x / (1 - p), or zero with probability p; which ones is a function of `key` and place. y may be x.
void dropout(ThreadPool& pool, DType dtype, int64_t n, double p, uint64_t key, const void* x, void* y);

}  // namespace plimsoll::cpu
