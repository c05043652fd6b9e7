#include "quant/bnb/llm_int8.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/rounding.h"

namespace plimsoll {
namespace {

// |x| / absmax is at most 1 but for rounding, so a code is at most 127; NaN and outliers are bounded.
inline int8_t code_of(float scaled) {
  const float rounded = nearest_even(scaled);
  return static_cast<int8_t>(rounded < 127.0F ? (rounded > -127.0F ? rounded : -127.0F) : 127.0F);
}

void quantize_row(const float* in, int64_t cols, float threshold, int8_t* codes, float* absmax) {
  float most = 0;
  for (int64_t i = 0; i < cols; ++i) {
    const float magnitude = std::fabs(in[i]);
    most = std::max(most, magnitude < threshold ? magnitude : 0.0F);
  }
  *absmax = most;
  const float scale = most > 0 ? 127.0F / most : 0.0F;
  for (int64_t i = 0; i < cols; ++i) codes[i] = code_of(std::fabs(in[i]) < threshold ? in[i] * scale : 0.0F);
}

}  // namespace

void quantize_rows_int8(const float* in, int64_t rows, int64_t cols, int8_t* codes, float* absmax) {
  for (int64_t row = 0; row < rows; ++row)
    quantize_row(in + row * cols, cols, std::numeric_limits<float>::infinity(), codes + row * cols, absmax + row);
}

std::vector<int64_t> outlier_columns(const float* in, int64_t rows, int64_t cols, float threshold) {
  std::vector<int64_t> found;
  for (int64_t col = 0; col < cols; ++col) {
    for (int64_t row = 0; row < rows; ++row) {
      if (!(std::fabs(in[row * cols + col]) >= threshold)) continue;
      found.push_back(col);
      break;
    }
  }
  return found;
}

void quantize_rows_int8(const float* in, int64_t rows, int64_t cols, float threshold,
                        const std::vector<int64_t>& outliers, int8_t* codes, float* absmax) {
  for (int64_t row = 0; row < rows; ++row) {
    quantize_row(in + row * cols, cols, threshold, codes + row * cols, absmax + row);
    if (rows > 1)
      for (const int64_t col : outliers) codes[row * cols + col] = 0;
  }
}

void dequantize_rows_int8(const int8_t* codes, const float* absmax, int64_t rows, int64_t cols, float* out) {
  for (int64_t row = 0; row < rows; ++row) {
    const float scale = absmax[row] / 127.0F;
    for (int64_t i = row * cols; i < (row + 1) * cols; ++i) out[i] = static_cast<float>(codes[i]) * scale;
  }
}

}  // namespace plimsoll
