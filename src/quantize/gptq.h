// Error-compensated rounding: columns are rounded one after another, and what a column is off by is made up for in
// those behind it, as far as what the linear sees allows. Frantar et al. 2022, arXiv:2210.17323.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "formats/packed/packed_encode.h"
#include "quant/affine_groups.h"

namespace plimsoll {

struct GptqOptions {
  Clipping clipping = Clipping::absmax;
  double percentile = 0.999;
  double damping = 0.01;   // of the mean of the diagonal, added to it
  bool act_order = false;  // columns in the order of the diagonal, largest first; groups as they lie in the matrix
};

// What rounding reads of the Hessian.
struct GptqFactor {
  std::vector<int32_t> order;  // column of the matrix at each place; empty: as it is
  std::vector<bool> dead;      // by place: the linear never sees it
};

// `hessian` (K, K), symmetric: Σ x xᵀ over the inputs x; becomes scratch. `upper` (K, K) gets the upper triangle U with
// H⁻¹ = Uᵀ U, in the order of the factor. A caller Error when the sums are not finite.
GptqFactor factor_hessian(const GptqOptions& options, int64_t size, float* hessian, float* upper, ThreadPool& pool);

// Rounds `weights` (rows, K) to grids of `format` (integers) and leaves what they mean in their place; returns what
// they are off by now. `groups`: rows · K / group, the grids. The same bits for any number of threads.
SquaredError round_gptq(const GptqOptions& options, const PackedFormat& format, const GptqFactor& factor,
                        const float* upper, int64_t rows, int64_t size, float* weights, AffineGroup* groups,
                        ThreadPool& pool);

}  // namespace plimsoll
