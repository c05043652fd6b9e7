// 8-bit floats: e4m3fn (4 exponent bits, no infinity, largest 448) and e5m2 (an fp16 cut short, largest 57344).
// Micikevicius et al. 2022, arXiv:2209.05433. Rounding is to nearest even. Runs take e4m3fn; e5m2 is here for the
// golden cases.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "quant/half.h"

namespace plimsoll {

inline float from_e4m3(uint8_t bits) {
  // As fp16 the same fields mean 2^-8 of the value. The one NaN, all ones, would be 480 there.
  const float value = inline_half::from_f16(static_cast<uint16_t>((bits & 0x7fU) << 7)) * 256.0F;
  const uint32_t magnitude = (bits & 0x7fU) == 0x7fU ? 0x7fc00000U : std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>(magnitude | (static_cast<uint32_t>(bits & 0x80U) << 24));
}

inline float from_e5m2(uint8_t bits) { return inline_half::from_f16(static_cast<uint16_t>(bits << 8)); }

// As torch 2.13 casts: what is larger, infinity too, gives the largest value (older versions gave NaN). NaN stays NaN.
inline uint8_t to_e4m3(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 24) & 0x80U, magnitude = bits & 0x7fffffffU;
  const uint32_t normal = (magnitude - (120U << 23) + 0x7ffffU + ((magnitude >> 20) & 1U)) >> 20;
  // Below 2^-6: adding 2^14 aligns the last bit, 2^-9, and rounds.
  const float small = std::bit_cast<float>(magnitude < (121U << 23) ? magnitude : 0U);
  const uint32_t subnormal = std::bit_cast<uint32_t>(small + 0x1p14F) - std::bit_cast<uint32_t>(0x1p14F);
  uint32_t out = magnitude < (121U << 23) ? subnormal : normal;
  out = out > 0x7eU ? 0x7eU : out;
  out = magnitude > 0x7f800000U ? 0x7fU : out;
  return static_cast<uint8_t>(sign | out);
}

// As torch casts: beyond the largest value infinity, NaN stays NaN.
inline uint8_t to_e5m2(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 24) & 0x80U, magnitude = bits & 0x7fffffffU;
  const uint32_t normal = (magnitude - (112U << 23) + 0xfffffU + ((magnitude >> 21) & 1U)) >> 21;
  // Below 2^-14: as above, the last bit is 2^-16.
  const float small = std::bit_cast<float>(magnitude < (113U << 23) ? magnitude : 0U);
  const uint32_t subnormal = std::bit_cast<uint32_t>(small + 0x1p7F) - std::bit_cast<uint32_t>(0x1p7F);
  uint32_t out = magnitude < (113U << 23) ? subnormal : normal;
  out = magnitude >= (143U << 23) ? 0x7cU : out;
  out = magnitude > 0x7f800000U ? 0x7fU : out;
  return static_cast<uint8_t>(sign | out);
}

// What follows takes DType::f8_e4m3 or DType::f8_e5m2.

float fp8_largest(DType type);  // 448 or 57344
float fp8_to_f32(DType type, uint8_t bits);
uint8_t f32_to_fp8(DType type, float value);            // as torch casts
uint8_t f32_to_fp8_saturated(DType type, float value);  // beyond the largest value: the largest; NaN stays NaN

// A matrix in tiles that have a scale each: x ≈ bits * scale, scale = max(absmax, 1e-12) / largest. Tiles of 128 x 128
// are DeepSeek-V3's (arXiv:2412.19437; its `weight_scale_inv`), 1 x 128 those of its activations, and one tile of the
// whole matrix is a scale a tensor. The last tiles of a row or column may be cut.
struct Fp8Tiling {
  int64_t rows = 0, cols = 0;            // of the matrix
  int64_t tile_rows = 0, tile_cols = 0;  // at least 1

  int64_t row_tiles() const { return (rows + tile_rows - 1) / tile_rows; }
  int64_t col_tiles() const { return (cols + tile_cols - 1) / tile_cols; }
};
// One tile row, so that callers can share rows among threads. `in` and `bits` are the whole matrix, row-major, `scales`
// (row_tiles, col_tiles).
void quantize_fp8_tiles(DType type, const Fp8Tiling& tiling, int64_t tile_row, const float* in, float* scales,
                        uint8_t* bits);
void dequantize_fp8_tiles(DType type, const Fp8Tiling& tiling, int64_t tile_row, const uint8_t* bits,
                          const float* scales, float* out);

}  // namespace plimsoll
