// Activation-aware scaling: columns that the linear sees large values in get finer steps, by a factor that the op
// before takes back. Lin et al. 2023, arXiv:2306.00978. What is minimised is the squared error of the outputs over the
// text, tr(D H Dᵀ) with D what the weights are off by and H = Σ x xᵀ.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "formats/packed/packed_weight.h"
#include "quant/affine_groups.h"

namespace plimsoll {

struct AwqLinear {
  float* weights = nullptr;  // (rows, K)
  int64_t rows = 0;
  PackedFormat format;  // integers
};

// Bytes of scratch for inputs of `size`.
int64_t awq_scratch_bytes(int64_t size, int threads);

// The factor of each input column, the best of s_j = rms_jᵅ for α = 0, 0.05, …, 1, normed to √(max · min) = 1. `tied`:
// columns with the same number must have the same factor (heads that share their values); empty: each its own.
// `hessian` (K, K) is of the inputs. All ones where nothing is better.
std::vector<float> search_awq_scales(std::span<const AwqLinear> linears, int64_t size, const float* hessian,
                                     std::span<const int32_t> tied, std::span<std::byte> scratch, ThreadPool& pool);

// The grids of a linear whose bounds are drawn in by the ratio of 1, 0.95, …, 0.5 that is best for its group.
void choose_clipped_groups(const AwqLinear& linear, int64_t size, const float* hessian, AffineGroup* groups,
                           ThreadPool& pool);

}  // namespace plimsoll
