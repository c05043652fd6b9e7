// Four-bit codes into a table of 16 values: iq4_nl and iq4_xs, and the microscaling formats mxfp4 (OCP MX v1.0) and
// nvfp4, whose table are the values of e2m1, doubled.
#include <bit>
#include <cmath>
#include <cstring>

#include "quant/ggml/ggml_codec.h"
#include "quant/rounding.h"

namespace plimsoll::ggml {
namespace {

using Bytes = const uint8_t*;

constexpr float kIq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr float kE2m1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Below this a block counts as zeros.
constexpr float kTiny = 1e-15F;

// Low nibbles hold the first half of the elements, high nibbles the second.
inline void put_halves(Bytes nibbles, int half, const float* values, float scale, float* out) {
  for (int i = 0; i < half; ++i) {
    out[i] = scale * values[nibbles[i] & 15];
    out[i + half] = scale * values[nibbles[i] >> 4];
  }
}

void read_iq4_nl(Bytes in, float* out) { put_halves(in + 2, 16, kIq4, load_f16(in), out); }

// d, upper two bits of eight scales, lower four bits of them[4], nibbles[128].
void read_iq4_xs(Bytes in, float* out) {
  const float d = load_f16(in);
  const uint32_t high = load_u16(in + 2);
  for (int k = 0; k < 8; ++k) {
    const uint32_t low = (in[4 + k / 2] >> (4 * (k % 2))) & 15U;
    const auto scale = static_cast<int>(low | (((high >> (2 * k)) & 3U) << 4)) - 32;
    put_halves(in + 8 + 16 * k, 16, kIq4, d * static_cast<float>(scale), out + 32 * k);
  }
}

// Half of 2^(e - 127), for the doubled table; subnormal for e < 2.
inline float half_power(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000U << e : static_cast<uint32_t>(e - 1) << 23);
}

void read_mxfp4(Bytes in, float* out) { put_halves(in + 1, 16, kE2m1Doubled, half_power(in[0]), out); }

// An unsigned e4m3 scale for each 16 elements, then their nibbles. Half of its value, for the doubled table.
void read_nvfp4(Bytes in, float* out) {
  for (int k = 0; k < 4; ++k) {
    const int exponent = (in[k] >> 3) & 15, mantissa = in[k] & 7;
    const float value = exponent == 0 ? static_cast<float>(mantissa) * 0x1p-9F
                                      : std::ldexp(1.0F + static_cast<float>(mantissa) / 8.0F, exponent - 7);
    put_halves(in + 4 + 8 * k, 8, kE2m1Doubled, in[k] == 0x7f ? 0.0F : value * 0.5F, out + 16 * k);
  }
}

// The nearest entries of kIq4 to 32 values times `factor`, as codes and as values; exactly between two, the upper one.
// Neighbours differ by at least 11, so comparing with the midpoint decides as comparing both distances would. NaN: 0.
struct Nearest {
  float value[32];
  int32_t code[32];
};

Nearest nearest_iq4(const float* in, float factor) {
  Nearest out;
  for (int i = 0; i < 32; ++i) {
    const float x = factor * in[i];
    float value = kIq4[0];
    int32_t code = 0;
    for (int k = 0; k < 15; ++k) {
      const bool above = x >= (kIq4[k] + kIq4[k + 1]) / 2;
      value += above ? kIq4[k + 1] - kIq4[k] : 0.0F;
      code += above ? 1 : 0;
    }
    out.value[i] = value;
    out.code[i] = code;
  }
  return out;
}

// The scale of 32 values: of 15 ways to lay the table over them, the one with the least error weighted by x², where
// each candidate's scale is the least-squares one for its codes.
float fit_iq4(const float* in) {
  float extreme = 0, magnitude = 0;
  for (int i = 0; i < 32; ++i) {
    if (std::fabs(in[i]) > magnitude) {
      magnitude = std::fabs(in[i]);
      extreme = in[i];
    }
  }
  if (magnitude < kTiny) return 0;
  float scale = 0, best = 0;
  const auto try_inverse = [&](float inverse_d, bool always) {
    const Nearest nearest = nearest_iq4(in, inverse_d);
    float sum_qx = 0, sum_qq = 0;
    for (int i = 0; i < 32; ++i) {
      const float q = nearest.value[i], weight = in[i] * in[i];
      sum_qx += weight * q * in[i];
      sum_qq += weight * q * q;
    }
    if (always || (sum_qq > 0 && sum_qx * sum_qx > best * sum_qq)) {
      scale = sum_qx / sum_qq;
      best = scale * sum_qx;
    }
  };
  try_inverse(1 / (-extreme / kIq4[0]), true);
  for (int step = -7; step <= 7; ++step) try_inverse((static_cast<float>(step) + kIq4[0]) / extreme, false);
  return scale;
}

void write_codes(const float* in, float inverse_d, uint8_t* nibbles) {
  const Nearest nearest = nearest_iq4(in, inverse_d);
  for (int i = 0; i < 16; ++i) nibbles[i] = static_cast<uint8_t>(nearest.code[i] | (nearest.code[i + 16] << 4));
}

void write_iq4_nl(const float* in, uint8_t* out) {
  const float scale = fit_iq4(in);
  store_f16(out, scale);
  write_codes(in, inverse(scale), out + 2);
}

void write_iq4_xs(const float* in, uint8_t* out) {
  float scales[8], extreme = 0;
  for (int k = 0; k < 8; ++k) {
    scales[k] = fit_iq4(in + 32 * k);
    if (std::fabs(scales[k]) > std::fabs(extreme)) extreme = scales[k];
  }
  const float d = -extreme / 32;
  store_f16(out, d);
  std::memset(out + 2, 0, 6);
  uint32_t high = 0;
  for (int k = 0; k < 8; ++k) {
    const int scale = clamp(static_cast<float>(nearest_int(inverse(d) * scales[k])), -32, 31);
    write_codes(in + 32 * k, inverse(d * static_cast<float>(scale)), out + 8 + 16 * k);
    const auto stored = static_cast<uint32_t>(scale + 32);
    out[4 + k / 2] = static_cast<uint8_t>(out[4 + k / 2] | ((stored & 15U) << (4 * (k % 2))));
    high |= (stored >> 4) << (2 * k);
  }
  out[2] = static_cast<uint8_t>(high);
  out[3] = static_cast<uint8_t>(high >> 8);
}

// The power of two under the largest magnitude becomes 4 of e2m1, whose largest value is 6.
void write_mxfp4(const float* in, uint8_t* out) {
  float magnitude = 0;
  for (int i = 0; i < 32; ++i) magnitude = std::fmax(magnitude, std::fabs(in[i]));
  int exponent = 0;
  if (magnitude > 0 && magnitude <= 3.4e38F) std::frexp(magnitude, &exponent);
  out[0] = magnitude > 0 ? static_cast<uint8_t>(clamp(static_cast<float>(exponent - 1 - 2 + 127), 0, 254)) : uint8_t{0};
  const float d = half_power(out[0]);
  const auto code = [&](float x) {  // the first of the nearest
    uint32_t best = 0;
    for (uint32_t i = 1; i < 16; ++i)
      if (std::fabs(kE2m1Doubled[i] * d - x) < std::fabs(kE2m1Doubled[best] * d - x)) best = i;
    return best;
  };
  for (int i = 0; i < 16; ++i) out[1 + i] = static_cast<uint8_t>(code(in[i]) | (code(in[i + 16]) << 4));
}

}  // namespace

Codec codec_of_four_bit(DType type) {
  switch (type) {
    case DType::iq4_nl:
      return {read_each<read_iq4_nl, 18, 32>, write_each<write_iq4_nl, 18, 32>};
    case DType::iq4_xs:
      return {read_each<read_iq4_xs, 136, 256>, write_each<write_iq4_xs, 136, 256>};
    case DType::mxfp4:
      return {read_each<read_mxfp4, 17, 32>, write_each<write_mxfp4, 17, 32>};
    case DType::nvfp4:
      return {read_each<read_nvfp4, 36, 64>};
    default:
      return {};
  }
}

}  // namespace plimsoll::ggml
