// -1, 0 and 1 times a scale: tq1_0 (five digits in a byte) and tq2_0 (two bits each); and q1_0, a sign a value.
#include <algorithm>
#include <array>
#include <cmath>

#include "quant/ggml/ggml_codec.h"

namespace plimsoll::ggml {
namespace {

using Bytes = const uint8_t*;

constexpr uint32_t kPowers[5] = {1, 3, 9, 27, 81};

// A byte is a fraction of 256 in base 3, rounded up: times 3^n drops n digits, times 3 brings the next above 8 bits.
inline float digit_of(uint8_t byte, int digit) {
  const uint32_t rest = (byte * kPowers[digit]) & 255U;
  return static_cast<float>(static_cast<int>((rest * 3) >> 8) - 1);
}

// Digits of `width` neighbouring bytes: first all first digits, then all second ones.
void read_digits(Bytes in, int width, int digits, float d, float* out) {
  for (int digit = 0; digit < digits; ++digit)
    for (int i = 0; i < width; ++i) *out++ = d * digit_of(in[i], digit);
}

void read_tq1_0(Bytes in, float* out) {
  const float d = load_f16(in + 52);
  read_digits(in, 32, 5, d, out);
  read_digits(in + 32, 16, 5, d, out + 160);
  read_digits(in + 48, 4, 4, d, out + 240);
}

void read_tq2_0(Bytes in, float* out) {
  const float d = load_f16(in + 64);
  for (int half = 0; half < 2; ++half)
    for (int shift = 0; shift < 8; shift += 2)
      for (int i = 0; i < 32; ++i) *out++ = d * static_cast<float>(((in[32 * half + i] >> shift) & 3) - 1);
}

void read_q1_0(Bytes in, float* out) {
  const float d = load_f16(in);
  for (int i = 0; i < 128; ++i) out[i] = ((in[2 + i / 8] >> (i % 8)) & 1) != 0 ? d : -d;
}

// 0, 1, 2 for each of 256 values; returns the scale.
float ternary_codes(const float* in, std::array<uint8_t, 256>& codes) {
  float magnitude = 0;
  for (int i = 0; i < 256; ++i) magnitude = std::fmax(magnitude, std::fabs(in[i]));
  const float inverse_d = inverse(magnitude);
  for (size_t i = 0; i < 256; ++i) codes[i] = static_cast<uint8_t>(clamp(std::round(in[i] * inverse_d), -1, 1) + 1);
  return magnitude;
}

void pack_digits(const uint8_t* codes, int width, int digits, uint8_t* out) {
  for (int i = 0; i < width; ++i) {
    uint32_t number = 0;
    for (int digit = 0; digit < digits; ++digit) number += codes[digit * width + i] * kPowers[4 - digit];
    out[i] = static_cast<uint8_t>((number * 256 + 242) / 243);
  }
}

void write_tq1_0(const float* in, uint8_t* out) {
  std::array<uint8_t, 256> codes;
  store_f16(out + 52, ternary_codes(in, codes));
  pack_digits(codes.data(), 32, 5, out);
  pack_digits(codes.data() + 160, 16, 5, out + 32);
  pack_digits(codes.data() + 240, 4, 4, out + 48);
}

void write_tq2_0(const float* in, uint8_t* out) {
  std::array<uint8_t, 256> codes;
  store_f16(out + 64, ternary_codes(in, codes));
  for (size_t i = 0; i < 64; ++i) {
    const uint8_t* c = codes.data() + 128 * (i / 32) + i % 32;
    out[i] = static_cast<uint8_t>(c[0] | (c[32] << 2) | (c[64] << 4) | (c[96] << 6));
  }
}

}  // namespace

Codec codec_of_ternary(DType type) {
  switch (type) {
    case DType::tq1_0:
      return {read_each<read_tq1_0, 54, 256>, write_each<write_tq1_0, 54, 256>};
    case DType::tq2_0:
      return {read_each<read_tq2_0, 66, 256>, write_each<write_tq2_0, 66, 256>};
    case DType::q1_0:
      return {read_each<read_q1_0, 18, 128>};
    default:
      return {};
  }
}

}  // namespace plimsoll::ggml
