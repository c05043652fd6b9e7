// LLM.int8(): int8 by row, with the columns that hold outliers left for a wider product.
// Dettmers et al. 2022, arXiv:2208.07339. q = round(x * (127 / absmax of the row)), to nearest even.
// Runs take the weights alone; outliers and products are of activations, and here for the golden cases.
#pragma once

#include <cstdint>
#include <vector>

namespace plimsoll {

// `in` is (rows, cols), `codes` likewise, `absmax` (rows): for weights this is the checkpoint's SCB. A row of zeros has
// codes 0.
void quantize_rows_int8(const float* in, int64_t rows, int64_t cols, int8_t* codes, float* absmax);

// Columns with a magnitude of `threshold` or more somewhere, ascending.
std::vector<int64_t> outlier_columns(const float* in, int64_t rows, int64_t cols, float threshold);

// As quantize_rows_int8, but outlying values do not count for absmax, and where there is more than one row all codes of
// the columns `outliers` (of the same threshold) are 0. `threshold` > 0.
void quantize_rows_int8(const float* in, int64_t rows, int64_t cols, float threshold,
                        const std::vector<int64_t>& outliers, int8_t* codes, float* absmax);

// x ≈ code * absmax / 127
void dequantize_rows_int8(const int8_t* codes, const float* absmax, int64_t rows, int64_t cols, float* out);

// What the int32 product of two coded matrices means: sum * (absmax_a * absmax_b / 127²).
inline float int8_product(int32_t sum, float absmax_a, float absmax_b) {
  return static_cast<float>(sum) * (absmax_a * absmax_b / (127.0F * 127.0F));
}

}  // namespace plimsoll
