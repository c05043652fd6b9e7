#include "quant/bnb/int8_blockwise.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace plimsoll {
namespace {

// Decades 1e-6 to 1, each with twice as many fractions as the one before, spread evenly over [0.1, 1]: the values are
// the middles of the steps. 0 and 1 are added.
CodeTable make_dynamic_table(bool is_signed) {
  CodeTable table{};
  size_t count = 0;
  table.values[count++] = 0.0F;
  table.values[count++] = 1.0F;
  for (int decade = 0; decade < 7; ++decade) {
    const int steps = (is_signed ? 1 : 2) << decade;
    const float step = (1.0F - 0.1F) / static_cast<float>(steps);
    // From the nearer end, rounded once: how torch.linspace makes its points.
    const auto boundary = [&](int j) {
      return j < (steps + 1) / 2 ? static_cast<float>(static_cast<double>(0.1F) + static_cast<double>(step) * j)
                                 : static_cast<float>(1.0 - static_cast<double>(step) * (steps - j));
    };
    const auto power = static_cast<float>(std::pow(10.0, decade - 6));
    for (int j = 0; j < steps; ++j) {
      const float value = power * ((boundary(j) + boundary(j + 1)) / 2.0F);
      table.values[count++] = value;
      if (is_signed) table.values[count++] = -value;
    }
  }
  std::sort(table.values.begin(), table.values.end());
  table.midpoints.fill(std::numeric_limits<float>::infinity());
  for (size_t i = 0; i < 255; ++i) table.midpoints[i] = (table.values[i] + table.values[i + 1]) / 2.0F;
  for (uint32_t half = 0; half < 65536; ++half) {
    // The ends of the floats with this upper half; for negative ones the larger pattern is the lower number.
    const auto a = std::bit_cast<float>(half << 16), b = std::bit_cast<float>((half << 16) | 0xffffU);
    if (std::isnan(a) || std::isnan(b)) continue;
    const auto below = [&](float x) {
      return std::lower_bound(table.midpoints.begin(), table.midpoints.begin() + 255, x) - table.midpoints.begin();
    };
    table.coarse[half] = static_cast<uint8_t>(below(std::min(a, b)));
    PLIMSOLL_CHECK(below(std::max(a, b)) - below(std::min(a, b)) <= 3, "nearest_code takes three steps");
  }
  table.coarse[0x7f80] = 255;  // infinity
  return table;
}

}  // namespace

const CodeTable& dynamic_table(bool is_signed) {
  static const CodeTable with_sign = make_dynamic_table(true), without_sign = make_dynamic_table(false);
  return is_signed ? with_sign : without_sign;
}

void quantize_blockwise(const CodeTable& table, const float* in, int64_t n, int64_t block, uint8_t* codes,
                        float* absmax) {
  for (int64_t first = 0; first < n; first += block) {
    const int64_t last = std::min(first + block, n);
    float most = 0;
    for (int64_t i = first; i < last; ++i) most = std::max(most, std::fabs(in[i]));
    absmax[first / block] = most;
    const float inverse = 1.0F / std::max(most, 1e-38F);
    for (int64_t i = first; i < last; ++i) codes[i] = nearest_code(table, in[i] * inverse);
  }
}

void dequantize_blockwise(const CodeTable& table, const uint8_t* codes, const float* absmax, int64_t n, int64_t block,
                          float* out) {
  for (int64_t first = 0; first < n; first += block) {  // no division for each value
    const float scale = absmax[first / block];
    for (int64_t i = first; i < std::min(first + block, n); ++i) out[i] = table.values[codes[i]] * scale;
  }
}

}  // namespace plimsoll
