#include "quant/fake_quant.h"

#include <algorithm>
#include <cmath>

#include "quant/rounding.h"

namespace plimsoll {
namespace {
float largest_code(int bits) { return static_cast<float>((1 << (bits - 1)) - 1); }
}  // namespace

float fake_quant_scale(const float* in, int64_t n, int64_t stride, int bits) {
  float most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, std::fabs(in[i * stride]));
  return most / largest_code(bits);
}

void fake_quantize(const float* in, int64_t n, int64_t stride, int bits, float scale, float* out) {
  const float top = largest_code(bits);
  if (!(scale > 0)) {
    std::fill_n(out, n, 0.0F);
    return;
  }
  for (int64_t i = 0; i < n; ++i) out[i] = std::clamp(nearest_even(in[i * stride] / scale), -top - 1, top) * scale;
}

}  // namespace plimsoll
