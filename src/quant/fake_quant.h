// Quantization to a few bits and back, as quantization-aware training computes with: symmetric, s = absmax /
// (2^(bits-1) - 1), x → s · clamp(round(x / s), -2^(bits-1), 2^(bits-1) - 1), ties to even.   Jacob et al. 2018,
// arXiv:1712.05877.
#pragma once

#include <cstdint>

namespace plimsoll {

// The scale of `n` values that lie `stride` apart; 0 where all are zero.
float fake_quant_scale(const float* in, int64_t n, int64_t stride, int bits);

// out[i] = in[i · stride], quantized by `scale` and back; zeros for scale 0. A value that is not finite gives some
// value.
void fake_quantize(const float* in, int64_t n, int64_t stride, int bits, float scale, float* out);

}  // namespace plimsoll
