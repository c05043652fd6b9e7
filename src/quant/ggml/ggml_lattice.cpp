// iq1, iq2, iq3: groups of 8 (iq3: 4) magnitudes are one point of a lattice; signs and scales beside it. Reading only.
#include <bit>

#include "quant/ggml/ggml_codec.h"
#include "quant/ggml/ggml_lattice_points.h"

namespace plimsoll::ggml {
namespace {

using Bytes = const uint8_t*;

constexpr float kIq2Magnitudes[4] = {8, 25, 43, 0};
constexpr float kIq3XxsMagnitudes[8] = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr float kIq1Values[4] = {-1, 0, 1, 0};
constexpr float kIq1Shift = 0.125F;

// Seven sign bits; the eighth makes the number of negative values even.
inline uint32_t signs_of_7(uint32_t bits) {
  bits &= 127U;
  return bits | ((static_cast<uint32_t>(std::popcount(bits)) & 1U) << 7);
}

inline float negated_if(float value, uint32_t bit) { return (bit & 1U) != 0 ? -value : value; }

void put_8(uint32_t point, uint32_t signs, float scale, float* out) {
  for (uint32_t i = 0; i < 8; ++i) out[i] = negated_if(scale * kIq2Magnitudes[(point >> (2 * i)) & 3U], signs >> i);
}

void put_4(uint32_t point, const float* magnitudes, uint32_t signs, float scale, float* out) {
  for (uint32_t i = 0; i < 4; ++i) out[i] = negated_if(scale * magnitudes[(point >> (3 * i)) & 7U], signs >> i);
}

void put_iq1(uint32_t point, float scale, float shift, float* out) {
  for (uint32_t i = 0; i < 8; ++i) out[i] = scale * (kIq1Values[(point >> (2 * i)) & 3U] + shift);
}

inline float half_steps(float d, uint32_t scale, float unit) { return d * (0.5F + static_cast<float>(scale)) * unit; }
inline float odd_steps(float d, uint32_t scale) { return d * static_cast<float>(2 * scale + 1); }
inline uint32_t nibble(Bytes at, int i) { return (at[i / 2] >> (4 * (i % 2))) & 15U; }

// d, then for each 32 elements four indices of a byte, and a word of four times seven signs and four bits of scale.
void read_iq2_xxs(Bytes in, float* out) {
  const float d = load_f16(in);
  for (int k = 0; k < 8; ++k) {
    Bytes indices = in + 2 + 8 * k;
    const uint32_t word = load_u32(indices + 4);
    const float scale = half_steps(d, word >> 28, 0.25F);
    for (int g = 0; g < 4; ++g, out += 8) put_8(kIq2Xxs[indices[g]], signs_of_7(word >> (7 * g)), scale, out);
  }
}

// d, 32 words of nine bits of index and seven signs, a nibble of scale for each 16 elements.
void read_iq2_xs(Bytes in, float* out) {
  const float d = load_f16(in);
  for (int g = 0; g < 32; ++g, out += 8) {
    const uint32_t word = load_u16(in + 2 + 2 * g);
    put_8(kIq2Xs[word & 511U], signs_of_7(word >> 9), half_steps(d, nibble(in + 66, g / 2), 0.25F), out);
  }
}

// d, indices[32], signs[32], two more bits of each index[8], scales[8].
void read_iq2_s(Bytes in, float* out) {
  const float d = load_f16(in);
  for (int g = 0; g < 32; ++g, out += 8) {
    const uint32_t index = in[2 + g] | (((in[66 + g / 4] >> (2 * (g % 4))) & 3U) << 8);
    put_8(kIq2S[index], in[34 + g], half_steps(d, nibble(in + 74, g / 2), 0.25F), out);
  }
}

// d, indices[64], and for each 32 elements a word as in iq2_xxs.
void read_iq3_xxs(Bytes in, float* out) {
  const float d = load_f16(in);
  for (int k = 0; k < 8; ++k) {
    const uint32_t word = load_u32(in + 66 + 4 * k);
    const float scale = half_steps(d, word >> 28, 0.5F);
    for (int g = 0; g < 8; ++g, out += 4) {
      const uint32_t signs = signs_of_7(word >> (7 * (g / 2))) >> (4 * (g % 2));
      put_4(kIq3Xxs[in[2 + 8 * k + g]], kIq3XxsMagnitudes, signs, scale, out);
    }
  }
}

// d, indices[64], a ninth bit of each[8], signs[32], a nibble of scale for each 32 elements.
void read_iq3_s(Bytes in, float* out) {
  constexpr float kOdd[8] = {1, 3, 5, 7, 9, 11, 13, 15};
  const float d = load_f16(in);
  for (int g = 0; g < 64; ++g, out += 4) {
    const uint32_t index = in[2 + g] | (((in[66 + g / 8] >> (g % 8)) & 1U) << 8);
    put_4(kIq3S[index], kOdd, static_cast<uint32_t>(in[74 + g / 2] >> (4 * (g % 2))),
          odd_steps(d, nibble(in + 106, g / 8)), out);
  }
}

// d, indices[32], and for each 32 elements a word: four times three bits of index, three of scale, the shift's sign.
void read_iq1_s(Bytes in, float* out) {
  const float d = load_f16(in);
  for (int g = 0; g < 32; ++g, out += 8) {
    const uint32_t word = load_u16(in + 34 + 2 * (g / 4));
    const uint32_t index = in[2 + g] | (((word >> (3 * (g % 4))) & 7U) << 8);
    put_iq1(kIq1[index], odd_steps(d, (word >> 12) & 7U), negated_if(kIq1Shift, word >> 15), out);
  }
}

// indices[32], a nibble for each group[16] (three bits of index, the shift's sign), four words of four 3-bit scales;
// their upper nibbles together are d.
void read_iq1_m(Bytes in, float* out) {
  uint32_t bits = 0;
  for (int i = 0; i < 4; ++i) bits |= static_cast<uint32_t>(load_u16(in + 48 + 2 * i) >> 12) << (4 * i);
  const float d = inline_half::from_f16(static_cast<uint16_t>(bits));
  for (int g = 0; g < 32; ++g, out += 8) {
    const uint32_t high = nibble(in + 32, g), scales = load_u16(in + 48 + 2 * (g / 8));
    const uint32_t index = in[g] | ((high & 7U) << 8);
    put_iq1(kIq1[index], odd_steps(d, (scales >> (3 * (g / 2 % 4))) & 7U), negated_if(kIq1Shift, high >> 3), out);
  }
}

}  // namespace

Codec codec_of_lattice(DType type) {
  switch (type) {
    case DType::iq2_xxs:
      return {read_each<read_iq2_xxs, 66, 256>};
    case DType::iq2_xs:
      return {read_each<read_iq2_xs, 74, 256>};
    case DType::iq2_s:
      return {read_each<read_iq2_s, 82, 256>};
    case DType::iq3_xxs:
      return {read_each<read_iq3_xxs, 98, 256>};
    case DType::iq3_s:
      return {read_each<read_iq3_s, 110, 256>};
    case DType::iq1_s:
      return {read_each<read_iq1_s, 50, 256>};
    case DType::iq1_m:
      return {read_each<read_iq1_m, 56, 256>};
    default:
      return {};
  }
}

}  // namespace plimsoll::ggml
