// The weights of LLM.int8(): int8 by row.
// Dettmers et al. 2022, arXiv:2208.07339. q = round(x * (127 / absmax of the row)), to nearest even.
#pragma once

#include <cstdint>

namespace plimsoll {

// `in` is (rows, cols), `codes` likewise, `absmax` (rows): for weights this is the checkpoint's SCB. A row of zeros has
// codes 0; so has a value that is not finite.
void quantize_rows_int8(const float* in, int64_t rows, int64_t cols, int8_t* codes, float* absmax);

// x ≈ code * absmax / 127
void dequantize_rows_int8(const int8_t* codes, const float* absmax, int64_t rows, int64_t cols, float* out);

}  // namespace plimsoll
