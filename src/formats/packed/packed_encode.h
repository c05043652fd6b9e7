// Writing the matrices of formats/packed/packed_weight.h.
#pragma once

#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "config/quantization_config.h"
#include "formats/packed/packed_weight.h"
#include "quant/affine_groups.h"

namespace plimsoll {

// The tensors of a matrix, in the order in which their bytes come out of encode_packed.
std::vector<SafetensorsOutput> packed_outputs(const PackedFormat& format, const std::string& weight, int64_t rows,
                                              int64_t cols);

// Bytes that encode_packed writes to, its scratch at the end included; and how many of them are the tensors'.
int64_t packed_encode_bytes(const PackedFormat& format, int64_t rows, int64_t cols);
int64_t packed_stored_bytes(const PackedFormat& format, int64_t rows, int64_t cols);

// Sums of squares over a matrix: of what the restored values are off by, and of the values.
struct SquaredError {
  double error = 0, total = 0;
  double relative() const;  // root of the quotient; 0 for zeros
  SquaredError& operator+=(const SquaredError& other);
};

// The grids of `integers`, row by row, by a rule of quant/affine_groups.h; scales are rounded as they are stored, so
// that codes are the nearest to what they will mean. `groups`: rows · groups of a row.
void choose_groups(const PackedFormat& format, Clipping clipping, double percentile, const float* values, int64_t rows,
                   int64_t cols, ThreadPool& pool, AffineGroup* groups);
float rounded_scale(DType stored, float scale);
AffineFormat affine_format(const PackedFormat& format);

// `values` (rows, cols) row-major → `out`, packed_encode_bytes, aligned for floats. `groups`: of integers alone. Sums
// are added up in an order that does not depend on the threads.
SquaredError encode_packed(const PackedFormat& format, int64_t rows, int64_t cols, const float* values,
                           const AffineGroup* groups, ThreadPool& pool, std::span<std::byte> out);

// What config.json says of a folder with such matrices; `rest`: of its other tensors.
QuantizationConfig quantization_config_of(const PackedFormat& format, DType rest);

}  // namespace plimsoll
