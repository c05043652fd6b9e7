#include "quant/ggml/ggml_codec.h"

namespace plimsoll::ggml {
namespace {

using Bytes = const uint8_t*;

// --- 256 values a block, in sub-blocks of 16 or 32 with scales of their own -----------------------------------------

// scales[16] (low nibble scale, high nibble minimum), quants[64], d, dmin.
void read_q2_k(Bytes in, float* out) {
  const float d = load_f16(in + 80), dmin = load_f16(in + 82);
  int sub_block = 0;
  for (int half = 0; half < 2; ++half) {
    for (int shift = 0; shift < 8; shift += 2) {
      for (int part = 0; part < 32; part += 16) {
        const int packed = in[sub_block++];
        const float scale = d * static_cast<float>(packed & 15), minimum = dmin * static_cast<float>(packed >> 4);
        Bytes quants = in + 16 + 32 * half + part;
        for (int i = 0; i < 16; ++i) *out++ = scale * static_cast<float>((quants[i] >> shift) & 3) - minimum;
      }
    }
  }
}

// high bits[32] (set: nothing to subtract), quants[64], 16 six-bit scales in 12 bytes, d.
void read_q3_k(Bytes in, float* out) {
  const float d = load_f16(in + 108);
  Bytes packed = in + 96;
  int sub_block = 0;
  for (int half = 0; half < 2; ++half) {
    for (int j = 0; j < 4; ++j) {
      for (int part = 0; part < 32; part += 16, ++sub_block) {
        const int low = sub_block < 8 ? packed[sub_block] & 15 : packed[sub_block - 8] >> 4;
        const int high = (packed[8 + sub_block % 4] >> (2 * (sub_block / 4))) & 3;
        const float scale = d * static_cast<float>((low | (high << 4)) - 32);
        Bytes quants = in + 32 + 32 * half + part, masks = in + part;
        for (int i = 0; i < 16; ++i) {
          const int offset = ((masks[i] >> (4 * half + j)) & 1) != 0 ? 0 : 4;
          *out++ = scale * static_cast<float>(((quants[i] >> (2 * j)) & 3) - offset);
        }
      }
    }
  }
}

// d, dmin, scales[12], quants[128]; 32 bytes hold a sub-block in their low and the next in their high nibbles.
void read_q4_k(Bytes in, float* out) {
  const float d = load_f16(in), dmin = load_f16(in + 2);
  for (int k = 0; k < 4; ++k) {
    const ScaleAndMinimum a = scale_of_32(in + 4, 2 * k, d, dmin), b = scale_of_32(in + 4, 2 * k + 1, d, dmin);
    Bytes quants = in + 16 + 32 * k;
    for (int i = 0; i < 32; ++i) {
      out[64 * k + i] = a.scale * static_cast<float>(quants[i] & 15) - a.minimum;
      out[64 * k + 32 + i] = b.scale * static_cast<float>(quants[i] >> 4) - b.minimum;
    }
  }
}

// As Q4_K with 32 bytes of fifth bits between scales and quants: bit j of byte i belongs to element i of sub-block j.
void read_q5_k(Bytes in, float* out) {
  const float d = load_f16(in), dmin = load_f16(in + 2);
  Bytes high = in + 16;
  for (int k = 0; k < 4; ++k) {
    const ScaleAndMinimum a = scale_of_32(in + 4, 2 * k, d, dmin), b = scale_of_32(in + 4, 2 * k + 1, d, dmin);
    Bytes quants = in + 48 + 32 * k;
    for (int i = 0; i < 32; ++i) {
      const int low_q = (quants[i] & 15) | (((high[i] >> (2 * k)) & 1) << 4);
      const int high_q = (quants[i] >> 4) | (((high[i] >> (2 * k + 1)) & 1) << 4);
      out[64 * k + i] = a.scale * static_cast<float>(low_q) - a.minimum;
      out[64 * k + 32 + i] = b.scale * static_cast<float>(high_q) - b.minimum;
    }
  }
}

// low nibbles[128], pairs of high bits[64], 16 signed scales, d.
void read_q6_k(Bytes in, float* out) {
  const float d = load_f16(in + 208);
  for (int half = 0; half < 2; ++half) {
    Bytes low = in + 64 * half, high = in + 128 + 32 * half, scales = in + 192 + 8 * half;
    for (int quarter = 0; quarter < 4; ++quarter) {
      Bytes nibbles = low + 32 * (quarter & 1);
      const int nibble_shift = quarter < 2 ? 0 : 4;
      for (int part = 0; part < 2; ++part) {
        const float scale = d * static_cast<float>(static_cast<int8_t>(scales[2 * quarter + part]));
        for (int i = 16 * part; i < 16 * part + 16; ++i) {
          const int q = ((nibbles[i] >> nibble_shift) & 15) | (((high[i] >> (2 * quarter)) & 3) << 4);
          out[128 * half + 32 * quarter + i] = scale * static_cast<float>(q - 32);
        }
      }
    }
  }
}

}  // namespace

Codec codec_of_k(DType type) {
  switch (type) {
    case DType::q2_k:
      return {read_each<read_q2_k, 84, 256>, k_writer(type)};
    case DType::q3_k:
      return {read_each<read_q3_k, 110, 256>, k_writer(type)};
    case DType::q4_k:
      return {read_each<read_q4_k, 144, 256>, k_writer(type)};
    case DType::q5_k:
      return {read_each<read_q5_k, 176, 256>, k_writer(type)};
    case DType::q6_k:
      return {read_each<read_q6_k, 210, 256>, k_writer(type)};
    default:
      return {};
  }
}

}  // namespace plimsoll::ggml
