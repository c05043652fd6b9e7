// Integers of 2 to 8 bits in groups that share a scale, and a zero point unless symmetric: x ≈ (code - zero) * scale.
//   symmetric   scale = bound / (2^(bits-1) - 1), codes -2^(bits-1) … 2^(bits-1)-1, zero 0
//   asymmetric  scale = (high - low) / (2^bits - 1), codes 0 … 2^bits-1, zero = round(-low / scale); low <= 0 <= high
// Rounding is to nearest even; a scale of 0 is written as 1. Bounds come from the values by one of three rules.
#pragma once

#include <cstdint>

namespace plimsoll {

enum class Clipping : uint8_t {
  absmax,      // the largest magnitude; lowest and highest value
  percentile,  // quantiles of the magnitudes; of the values at both ends. Interpolated linearly between values
  mse,         // absmax times the ratio of 1, 0.99, …, 0.5 with the least squared error, the first of equals
};

struct AffineFormat {
  int bits = 4;  // 2 to 8
  bool symmetric = true;
  Clipping clipping = Clipping::absmax;
  double percentile = 0.99;

  int least() const { return symmetric ? -(1 << (bits - 1)) : 0; }
  int most() const { return (1 << (symmetric ? bits - 1 : bits)) - 1; }
};

struct AffineGroup {
  float scale = 1;
  int32_t zero = 0;
  float ratio = 1;  // of absmax: what `mse` chose
};

// `count` finite values → `count` codes, int8 where symmetric, uint8 where not. `scratch`: `count` floats, read and
// written with `percentile` only.
AffineGroup quantize_affine_group(const AffineFormat& format, const float* in, int64_t count, float* scratch,
                                  uint8_t* codes);
// The codes of values on a grid that is there already: nearest, bounded by the format's range.
void encode_affine_group(const AffineFormat& format, const AffineGroup& group, const float* in, int64_t count,
                         uint8_t* codes);
void dequantize_affine_group(const AffineFormat& format, const AffineGroup& group, const uint8_t* codes, int64_t count,
                             float* out);

}  // namespace plimsoll
