// Matmuls of rows that are sorted by group, each group with a matrix of its own: the experts of a mixture. How many
// rows a group has is known only when it runs; the workspace depends on the shapes and the threads alone.
// bf16 goes through the tiles of matmul.h, group by group, where the CPU has AMX and a group more than a few rows; all
// else is widened into packed f32 blocks, weights in few bits too. Sums are f32. Tiles follow from the offsets, never
// from the threads, and every sum has a fixed order: the same bits for any thread count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

struct GroupedMatmulSpec {
  int64_t groups = 0;
  int64_t rows = 0;                  // of all groups together
  int64_t k = 0, n = 0;              // columns of x and of y
  bool transpose_weight = true;      // a group's matrix is (n, k); else (k, n)
  DType dtype = DType::f32;          // of x, weights, bias and y (dy)
  std::optional<DType> packed = {};  // of the weights, where they are packed (quant/packed_matrix.h)
};

// The matrices of the groups: one pointer each, or one pointer to all of them in a row (fused).
struct GroupMatrices {
  std::span<std::byte* const> pointers;
  bool fused = false;
  std::byte* at(int64_t group, int64_t bytes_each) const {
    return fused ? pointers[0] + group * bytes_each : pointers[static_cast<size_t>(group)];
  }
};

// Of grouped_matmul and, with `gradient`, of grouped_matmul_weight_gradient. Makes the products that they need.
int64_t grouped_matmul_workspace_bytes(const GroupedMatmulSpec& spec, bool gradient, int threads);

// offsets (groups + 1): group g has the rows from offsets[g] to offsets[g + 1]; the last is `rows`. Otherwise an
// internal Error. y (rows, n) = (accumulate: +=) x (rows, k) times the group's matrix, + bias[group] (groups, n).
void grouped_matmul(ThreadPool& pool, const GroupedMatmulSpec& spec, const int32_t* offsets, const void* x,
                    const GroupMatrices& weights, const void* bias, bool accumulate, void* y, void* workspace);

// accumulators (f32, as the weights; null: not wanted) += dyᵀ x over the rows of each group.
void grouped_matmul_weight_gradient(ThreadPool& pool, const GroupedMatmulSpec& spec, const int32_t* offsets,
                                    const void* dy, const void* x, const GroupMatrices& accumulators, void* workspace);

// accumulator (groups, n) f32 += the sum of each group's rows of dy.
void grouped_bias_gradient(ThreadPool& pool, const GroupedMatmulSpec& spec, const int32_t* offsets, const void* dy,
                           float* accumulator);

}  // namespace plimsoll::cpu
