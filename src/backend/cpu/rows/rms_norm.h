// RMSNorm over rows of x (rows, width): y = round(x · rstd) · (weight + offset), rstd = 1/sqrt(mean(x²) + eps).
// Saves x and one number per row. Statistics in f32. Per-head q/k norm is rows = R·heads, width = head_dim.
// As the reference implementations do: with offset 0 the normalised value is rounded to x's type before it meets the
// weight; with an offset (Gemma) it is not. Zhang & Sennrich 2019, arXiv:1910.07467.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

struct RmsNormSpec {
  int64_t rows = 0, width = 0;
  DType dtype = DType::f32;         // x, y, dy, dx
  DType weight_dtype = DType::f32;  // f32 or dtype
  float eps = 1e-6F;
  float weight_offset = 0;  // 1 for Gemma
};

// y may be x. rstd: f32 (rows).
void rms_norm_forward(ThreadPool& pool, const RmsNormSpec& spec, const void* x, const void* weight, void* y,
                      float* rstd);

// dx = (or +=, when accumulate) the gradient of x; dx may be dy. d_weight: f32 (width), accumulated, may be null; only
// then is workspace read.
void rms_norm_backward(ThreadPool& pool, const RmsNormSpec& spec, const void* dy, const void* x, const void* weight,
                       const float* rstd, void* dx, bool accumulate, float* d_weight, void* workspace);
int64_t rms_norm_backward_workspace_bytes(const RmsNormSpec& spec);  // with d_weight; 0 bytes are needed without

}  // namespace plimsoll::cpu
