// Rounding to the nearest, ties to even, as loops that vectorize: to integers without SSE4 (where nearbyint is a call),
// and to bf16.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace plimsoll {

// For |x| < 2^22: adding 1.5 * 2^23 leaves no fraction bits. Other values, NaN too, give some integer.
inline int32_t nearest_int(float x) {
  return static_cast<int32_t>(std::bit_cast<uint32_t>(x + 12582912.0F) & 0x7fffffU) - 0x400000;
}

// For every x; from 2^23 on every float is whole.
inline float nearest_even(float x) {
  const float magnitude = std::fabs(x);
  const float rounded = (magnitude + 8388608.0F) - 8388608.0F;  // 2^23
  return std::copysign(magnitude < 8388608.0F ? rounded : magnitude, x);
}

// To the nearest bf16, for finite x and infinities.
inline float nearest_bf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7fffU + ((bits >> 16) & 1U)) & 0xffff0000U);
}

}  // namespace plimsoll
