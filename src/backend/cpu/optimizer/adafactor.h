// One Adafactor step over one parameter tensor: the second moment of a matrix is kept as the means of its rows and
// columns. Shazeer & Stern 2018, arXiv:1804.04235; constants and order of operations as transformers' Adafactor without
// a first moment (eps 1e-30 and 1e-3, clip_threshold 1, decay_rate -0.8):
//   b = 1 - t^-0.8,   row = b row + (1 - b) mean over columns of (g² + 1e-30),   column likewise
//   u = g / sqrt(row / mean(row) · column),   u /= max(1, rms(u)),   p -= rate (weight_decay p + u)
// with rate = lr, or lr · max(1e-3, rms(p)) with scale_parameter.
#pragma once

#include <cstdint>

#include "backend/cpu/optimizer/optimizer.h"
#include "base/shape.h"

namespace plimsoll::cpu {

struct AdafactorState {
  float* rows = nullptr;     // (…, N); a vector's whole second moment, (n)
  float* columns = nullptr;  // (…, K); null for a vector
};

// `shape` is the tensor's: (…, N, K), or (n). scalars.beta1, beta2, eps and momentum are not read; tensor.m and
// tensor.v neither. Same bits for any thread count. Workspace as adafactor_workspace_bytes says, aligned to 8.
void adafactor_step(ThreadPool& pool, const OptimizerScalars& scalars, bool scale_parameter, const Shape& shape,
                    const OptimizerTensor& tensor, const AdafactorState& state, void* workspace);
int64_t adafactor_workspace_bytes(const Shape& shape);

}  // namespace plimsoll::cpu
