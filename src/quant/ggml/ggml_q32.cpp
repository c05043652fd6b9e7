#include <array>
#include <cmath>

#include "quant/ggml/ggml_codec.h"

namespace plimsoll::ggml {
namespace {

using Bytes = const uint8_t*;

// --- 32 values a block: low nibbles hold elements 0 to 15, high nibbles 16 to 31 ------------------------------------

void read_q4_0(Bytes in, float* out) {
  const float d = load_f16(in);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>((in[2 + i] & 15) - 8) * d;
    out[i + 16] = static_cast<float>((in[2 + i] >> 4) - 8) * d;
  }
}

void read_q4_1(Bytes in, float* out) {
  const float d = load_f16(in), m = load_f16(in + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(in[4 + i] & 15) * d + m;
    out[i + 16] = static_cast<float>(in[4 + i] >> 4) * d + m;
  }
}

// The fifth bit of element i is bit i of a word.
inline void read_five_bits(Bytes nibbles, uint32_t high, std::array<int, 32>& q) {
  for (int i = 0; i < 16; ++i) {
    q[static_cast<size_t>(i)] = (nibbles[i] & 15) | static_cast<int>(((high >> i) & 1U) << 4);
    q[static_cast<size_t>(i) + 16] = (nibbles[i] >> 4) | static_cast<int>(((high >> (i + 16)) & 1U) << 4);
  }
}

void read_q5_0(Bytes in, float* out) {
  const float d = load_f16(in);
  std::array<int, 32> q;
  read_five_bits(in + 6, load_u32(in + 2), q);
  for (size_t i = 0; i < 32; ++i) out[i] = static_cast<float>(q[i] - 16) * d;
}

void read_q5_1(Bytes in, float* out) {
  const float d = load_f16(in), m = load_f16(in + 2);
  std::array<int, 32> q;
  read_five_bits(in + 8, load_u32(in + 4), q);
  for (size_t i = 0; i < 32; ++i) out[i] = static_cast<float>(q[i]) * d + m;
}

void read_q8_0(Bytes in, float* out) {
  const float d = load_f16(in);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(static_cast<int8_t>(in[2 + i])) * d;
}

// --- quantization ---------------------------------------------------------------------------------------------------

// The value of largest magnitude with its sign, the first of equals.
float signed_extreme(const float* in) {
  float extreme = 0, magnitude = 0;
  for (int i = 0; i < 32; ++i) {
    if (std::fabs(in[i]) > magnitude) {
      magnitude = std::fabs(in[i]);
      extreme = in[i];
    }
  }
  return extreme;
}

struct Range {
  float least, most;
};
Range range_of(const float* in) {
  Range range{in[0], in[0]};
  for (int i = 1; i < 32; ++i) {
    range.least = in[i] < range.least ? in[i] : range.least;
    range.most = in[i] > range.most ? in[i] : range.most;
  }
  return range;
}

// Codes of 32 values: floor(x * inverse_d + offset), at most `most`.
void make_codes(const float* in, float shift, float inverse_d, float offset, int most, std::array<uint8_t, 32>& codes) {
  for (int i = 0; i < 32; ++i) {
    codes[static_cast<size_t>(i)] = static_cast<uint8_t>(clamp((in[i] - shift) * inverse_d + offset, 0, most));
  }
}

void pack_nibbles(const std::array<uint8_t, 32>& codes, uint8_t* out) {
  for (size_t i = 0; i < 16; ++i) out[i] = static_cast<uint8_t>((codes[i] & 15U) | ((codes[i + 16] & 15U) << 4));
}

void pack_fifth_bits(const std::array<uint8_t, 32>& codes, uint8_t* out) {
  uint32_t bits = 0;
  for (size_t i = 0; i < 32; ++i) bits |= static_cast<uint32_t>(codes[i] >> 4) << i;
  std::memcpy(out, &bits, 4);
}

void write_q8_0(const float* in, uint8_t* out) {
  float magnitude = 0;
  for (int i = 0; i < 32; ++i) magnitude = std::fmax(magnitude, std::fabs(in[i]));
  const float d = magnitude / 127;
  const float inverse_d = inverse(d);
  store_f16(out, d);
  for (int i = 0; i < 32; ++i) out[2 + i] = static_cast<uint8_t>(clamp(std::round(in[i] * inverse_d), -127, 127));
}

// One code more on the negative side, which the value of largest magnitude takes; `kMost` 15 or 31.
template <int kMost>
void write_symmetric(const float* in, uint8_t* out) {
  const int half = (kMost + 1) / 2;
  const float d = signed_extreme(in) / static_cast<float>(-half);
  store_f16(out, d);
  std::array<uint8_t, 32> codes;
  make_codes(in, 0.0F, inverse(d), static_cast<float>(half) + 0.5F, kMost, codes);
  if (kMost == 31) pack_fifth_bits(codes, out + 2);
  pack_nibbles(codes, kMost == 31 ? out + 6 : out + 2);
}

template <int kMost>
void write_with_minimum(const float* in, uint8_t* out) {
  const Range range = range_of(in);
  const float d = (range.most - range.least) / static_cast<float>(kMost);
  store_f16(out, d);
  store_f16(out + 2, range.least);
  std::array<uint8_t, 32> codes;
  make_codes(in, range.least, inverse(d), 0.5F, kMost, codes);
  if (kMost == 31) pack_fifth_bits(codes, out + 4);
  pack_nibbles(codes, kMost == 31 ? out + 8 : out + 4);
}

}  // namespace

Codec codec_of_32(DType type) {
  switch (type) {
    case DType::q4_0:
      return {read_each<read_q4_0, 18, 32>, write_each<write_symmetric<15>, 18, 32>};
    case DType::q4_1:
      return {read_each<read_q4_1, 20, 32>, write_each<write_with_minimum<15>, 20, 32>};
    case DType::q5_0:
      return {read_each<read_q5_0, 22, 32>, write_each<write_symmetric<31>, 22, 32>};
    case DType::q5_1:
      return {read_each<read_q5_1, 24, 32>, write_each<write_with_minimum<31>, 24, 32>};
    case DType::q8_0:
      return {read_each<read_q8_0, 34, 32>, write_each<write_q8_0, 34, 32>};
    default:
      return {};
  }
}

}  // namespace plimsoll::ggml
