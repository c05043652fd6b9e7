#include "quant/llm_int8.h"

#include <algorithm>
#include <cmath>

#include "quant/rounding.h"

namespace plimsoll {
namespace {

// |x| / absmax is at most 1 but for rounding, so a code is at most 127.
inline int8_t code_of(float scaled) {
  const float rounded = nearest_even(scaled);
  return static_cast<int8_t>(rounded < 127.0F ? (rounded > -127.0F ? rounded : -127.0F) : 127.0F);
}

inline float finite_or_zero(float value) { return std::isfinite(value) ? value : 0.0F; }

}  // namespace

void quantize_rows_int8(const float* in, int64_t rows, int64_t cols, int8_t* codes, float* absmax) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* values = in + row * cols;
    float most = 0;
    for (int64_t i = 0; i < cols; ++i) most = std::max(most, std::fabs(finite_or_zero(values[i])));
    absmax[row] = most;
    const float scale = most > 0 ? 127.0F / most : 0.0F;
    for (int64_t i = 0; i < cols; ++i) codes[row * cols + i] = code_of(finite_or_zero(values[i]) * scale);
  }
}

void dequantize_rows_int8(const int8_t* codes, const float* absmax, int64_t rows, int64_t cols, float* out) {
  for (int64_t row = 0; row < rows; ++row) {
    const float scale = absmax[row] / 127.0F;
    for (int64_t i = row * cols; i < (row + 1) * cols; ++i) out[i] = static_cast<float>(codes[i]) * scale;
  }
}

}  // namespace plimsoll
