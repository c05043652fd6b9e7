// Dot products of few rows of activations with rows of a packed matrix: generation's product, which is limited by how
// fast weights can be read. Weights become f32 in registers and are multiplied there; a result differs from the product
// with the unpacked matrix by the order of its f32 sums only. Internal to matmul.
#pragma once

#include "base/dtype.h"
#include "quant/packed_matrix.h"

namespace plimsoll::cpu {

// Rows of activations, `stride` elements apart; f32 or bf16.
struct DotRows {
  const void* data;
  DType dtype;
  int64_t count, stride;
};

// tile[r * stride + j] = a row r · b row (row + j) for j below `rows`, over all of b's columns. No allocation; any
// thread. a.count: 1 to kMaxSkinnyRows.
void packed_dot(const DotRows& a, const PackedMatrix& b, int64_t row, int64_t rows, float* tile, int64_t stride);

}  // namespace plimsoll::cpu
