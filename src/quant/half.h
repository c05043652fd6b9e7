// fp16 and bf16 to float and back, inline and without branches so that loops over them vectorize. Rounds to nearest
// even where the name says nothing else; overflow gives infinity.
#pragma once

#include <bit>
#include <cstdint>

namespace plimsoll::inline_half {

inline float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

inline uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  const uint32_t quiet = (bits >> 16) | 0x40U;
  return static_cast<uint16_t>((bits & 0x7fffffffU) > 0x7f800000U ? quiet : rounded);
}

// Rounds up with the probability that the cut-off bits say, so the expected value is `value` itself: `random` is
// uniform in its lower 16 bits. NaN stays NaN and infinity stays itself.
inline uint16_t to_bf16_stochastic(float value, uint32_t random) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffU;
  const uint32_t rounded = (bits + (magnitude < 0x7f800000U ? random & 0xffffU : 0U)) >> 16;
  return static_cast<uint16_t>(magnitude > 0x7f800000U ? (bits >> 16) | 0x40U : rounded);
}

inline float from_f16(uint16_t half) {
  constexpr uint32_t kExponent = 0x7c00U << 13;
  const uint32_t shifted = (half & 0x7fffU) << 13;
  const uint32_t exponent = shifted & kExponent;
  const uint32_t rebased = shifted + ((127U - 15U) << 23);
  const uint32_t special = rebased + ((128U - 16U) << 23);  // infinity and NaN keep the largest exponent
  // Subnormal: give it exponent 2^-14 and take the implied one away again; no denormal float is touched.
  const float subnormal = std::bit_cast<float>(rebased + (1U << 23)) - std::bit_cast<float>(113U << 23);
  uint32_t bits = exponent == kExponent ? special : rebased;
  bits = exponent == 0 ? std::bit_cast<uint32_t>(subnormal) : bits;
  return std::bit_cast<float>(bits | (static_cast<uint32_t>(half & 0x8000U) << 16));
}

inline uint16_t to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000U;
  const uint32_t magnitude = bits & 0x7fffffffU;
  const uint32_t normal = (magnitude + 0xfffU + ((magnitude >> 13) & 1U) - (112U << 23)) >> 13;
  // Below 2^-14: adding 0.5 aligns the mantissa and rounds it.
  const uint32_t small = magnitude < 0x38800000U ? magnitude : 0U;
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(small) + 0.5F) - std::bit_cast<uint32_t>(0.5F);
  uint32_t out = magnitude < 0x38800000U ? subnormal : normal;
  out = magnitude >= 0x47800000U ? 0x7c00U : out;
  out = magnitude > 0x7f800000U ? (0x7e00U | ((magnitude >> 13) & 0x3ffU)) : out;
  return static_cast<uint16_t>(sign | out);
}

}  // namespace plimsoll::inline_half
