// LayerNorm over rows of x (rows, width): y = (x - mean) · rstd · weight + bias, rstd = 1/sqrt(variance + eps).
// Ba et al. 2016, arXiv:1607.06450. Saves x and two numbers per row. Statistics in f32, the variance in a second pass
// around the mean. Per-head norms are rows = R·heads, width = head_dim.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

struct LayerNormSpec {
  int64_t rows = 0, width = 0;
  DType dtype = DType::f32;         // x, y, dy, dx
  DType weight_dtype = DType::f32;  // weight and bias: f32 or dtype
  float eps = 1e-5F;
};

// weight (width) may be null (1), bias (width) too (0). y may be x. mean_rstd: f32 (rows, 2).
void layer_norm_forward(ThreadPool& pool, const LayerNormSpec& spec, const void* x, const void* weight,
                        const void* bias, void* y, float* mean_rstd);

// dx = (or +=, when accumulate) the gradient of x; dx may be dy unless it accumulates. d_weight, d_bias: f32 (width),
// accumulated, each may be null; the workspace is read where one is not.
void layer_norm_backward(ThreadPool& pool, const LayerNormSpec& spec, const void* dy, const void* x, const void* weight,
                         const float* mean_rstd, void* dx, bool accumulate, float* d_weight, float* d_bias,
                         void* workspace);
int64_t layer_norm_backward_workspace_bytes(const LayerNormSpec& spec);  // with d_weight or d_bias; else 0

}  // namespace plimsoll::cpu
