#include "quant/fp8.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace plimsoll {
namespace {

void check_type(DType type) { PLIMSOLL_CHECK(type == DType::f8_e4m3 || type == DType::f8_e5m2, "not an 8-bit float"); }

// Comparisons are false for NaN, which passes through.
inline float bounded(float value, float most) {
  value = value > most ? most : value;
  return value < -most ? -most : value;
}

// Calls body(first element of a row of the tile, elements, index of the scale) for each row of each tile.
template <typename Body>
void each_tile(const Fp8Tiling& tiling, int64_t tile_row, Body body) {
  const int64_t first = tile_row * tiling.tile_rows, last = std::min(first + tiling.tile_rows, tiling.rows);
  for (int64_t j = 0; j < tiling.col_tiles(); ++j) {
    const int64_t col = j * tiling.tile_cols, cols = std::min(tiling.tile_cols, tiling.cols - col);
    for (int64_t row = first; row < last; ++row) body(row * tiling.cols + col, cols, tile_row * tiling.col_tiles() + j);
  }
}

}  // namespace

float fp8_largest(DType type) {
  check_type(type);
  return type == DType::f8_e4m3 ? 448.0F : 57344.0F;
}

float fp8_to_f32(DType type, uint8_t bits) {
  check_type(type);
  return type == DType::f8_e4m3 ? from_e4m3(bits) : from_e5m2(bits);
}

uint8_t f32_to_fp8(DType type, float value) {
  check_type(type);
  return type == DType::f8_e4m3 ? to_e4m3(value) : to_e5m2(value);
}

uint8_t f32_to_fp8_saturated(DType type, float value) { return f32_to_fp8(type, bounded(value, fp8_largest(type))); }

void quantize_fp8_tiles(DType type, const Fp8Tiling& tiling, int64_t tile_row, const float* in, float* scales,
                        uint8_t* bits) {
  const float largest = fp8_largest(type);
  std::fill_n(scales + tile_row * tiling.col_tiles(), tiling.col_tiles(), 1e-12F);
  each_tile(tiling, tile_row, [&](int64_t at, int64_t count, int64_t scale) {
    float most = scales[scale];
    for (int64_t i = at; i < at + count; ++i) most = std::max(most, std::fabs(in[i]));
    scales[scale] = most;
  });
  for (int64_t j = 0; j < tiling.col_tiles(); ++j) scales[tile_row * tiling.col_tiles() + j] /= largest;
  const auto write = [&](auto convert) {
    each_tile(tiling, tile_row, [&](int64_t at, int64_t count, int64_t scale) {
      const float s = scales[scale];
      for (int64_t i = at; i < at + count; ++i) bits[i] = convert(bounded(in[i] / s, largest));
    });
  };
  if (type == DType::f8_e4m3) write([](float x) { return to_e4m3(x); });
  else write([](float x) { return to_e5m2(x); });
}

void dequantize_fp8_tiles(DType type, const Fp8Tiling& tiling, int64_t tile_row, const uint8_t* bits,
                          const float* scales, float* out) {
  check_type(type);
  const auto read = [&](auto convert) {
    each_tile(tiling, tile_row, [&](int64_t at, int64_t count, int64_t scale) {
      for (int64_t i = at; i < at + count; ++i) out[i] = convert(bits[i]) * scales[scale];
    });
  };
  if (type == DType::f8_e4m3) read([](uint8_t b) { return from_e4m3(b); });
  else read([](uint8_t b) { return from_e5m2(b); });
}

}  // namespace plimsoll
