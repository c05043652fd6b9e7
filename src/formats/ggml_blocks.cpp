#include "formats/ggml_blocks.h"

#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "formats/half.h"

namespace plimsoll {
namespace {

using Bytes = const uint8_t*;

inline float load_f16(Bytes at) {
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  return inline_half::from_f16(bits);
}

inline uint32_t load_u32(Bytes at) {
  uint32_t bits;
  std::memcpy(&bits, at, 4);
  return bits;
}

inline void store_f16(uint8_t* at, float value) {
  const uint16_t bits = inline_half::to_f16(value);
  std::memcpy(at, &bits, 2);
}

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

struct ScaleAndMinimum {
  float scale, minimum;
};

// The eight pairs of six-bit numbers that Q4_K and Q5_K pack into 12 bytes.
inline ScaleAndMinimum scale_of_32(Bytes packed, int j, float d, float dmin) {
  const int scale = j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4);
  const int minimum = j < 4 ? packed[j + 4] & 63 : (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4);
  return {d * static_cast<float>(scale), dmin * static_cast<float>(minimum)};
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

template <void (*kRead)(Bytes, float*), int kBytes, int kElements>
void read_all(Bytes in, int64_t blocks, float* out) {
  for (int64_t i = 0; i < blocks; ++i) kRead(in + i * kBytes, out + i * kElements);
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

inline float inverse(float d) { return d != 0 ? 1.0F / d : 0.0F; }

// Also defined for NaN and infinity, where a conversion to integer alone is not.
inline int clamp(float value, int least, int most) {
  const auto low = static_cast<float>(least), high = static_cast<float>(most);
  return static_cast<int>(value > low ? (value < high ? value : high) : low);
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

// Symmetric with an odd number of codes on the negative side; `most` 15 or 31.
void write_symmetric(const float* in, int most, uint8_t* out) {
  const int half = (most + 1) / 2;
  const float d = signed_extreme(in) / static_cast<float>(-half);
  store_f16(out, d);
  std::array<uint8_t, 32> codes;
  make_codes(in, 0.0F, inverse(d), static_cast<float>(half) + 0.5F, most, codes);
  if (most == 31) pack_fifth_bits(codes, out + 2);
  pack_nibbles(codes, most == 31 ? out + 6 : out + 2);
}

void write_with_minimum(const float* in, int most, uint8_t* out) {
  const Range range = range_of(in);
  const float d = (range.most - range.least) / static_cast<float>(most);
  store_f16(out, d);
  store_f16(out + 2, range.least);
  std::array<uint8_t, 32> codes;
  make_codes(in, range.least, inverse(d), 0.5F, most, codes);
  if (most == 31) pack_fifth_bits(codes, out + 4);
  pack_nibbles(codes, most == 31 ? out + 8 : out + 4);
}

}  // namespace

void dequantize_blocks(DType dtype, const std::byte* in, int64_t blocks, float* out) {
  const auto bytes = reinterpret_cast<Bytes>(in);
  switch (dtype) {
    case DType::q4_0:
      return read_all<read_q4_0, 18, 32>(bytes, blocks, out);
    case DType::q4_1:
      return read_all<read_q4_1, 20, 32>(bytes, blocks, out);
    case DType::q5_0:
      return read_all<read_q5_0, 22, 32>(bytes, blocks, out);
    case DType::q5_1:
      return read_all<read_q5_1, 24, 32>(bytes, blocks, out);
    case DType::q8_0:
      return read_all<read_q8_0, 34, 32>(bytes, blocks, out);
    case DType::q2_k:
      return read_all<read_q2_k, 84, 256>(bytes, blocks, out);
    case DType::q3_k:
      return read_all<read_q3_k, 110, 256>(bytes, blocks, out);
    case DType::q4_k:
      return read_all<read_q4_k, 144, 256>(bytes, blocks, out);
    case DType::q5_k:
      return read_all<read_q5_k, 176, 256>(bytes, blocks, out);
    case DType::q6_k:
      return read_all<read_q6_k, 210, 256>(bytes, blocks, out);
    default:
      PLIMSOLL_CHECK(false, "not a block type");
  }
}

void quantize_blocks(DType dtype, const float* in, int64_t blocks, std::byte* out) {
  auto* bytes = reinterpret_cast<uint8_t*>(out);
  const int block_bytes = dtype_info(dtype).block_bytes;
  for (int64_t i = 0; i < blocks; ++i, in += 32, bytes += block_bytes) {
    switch (dtype) {
      case DType::q8_0:
        write_q8_0(in, bytes);
        break;
      case DType::q4_0:
        write_symmetric(in, 15, bytes);
        break;
      case DType::q5_0:
        write_symmetric(in, 31, bytes);
        break;
      case DType::q4_1:
        write_with_minimum(in, 15, bytes);
        break;
      case DType::q5_1:
        write_with_minimum(in, 31, bytes);
        break;
      default:
        PLIMSOLL_CHECK(false, "no quantizer for this type");
    }
  }
}

}  // namespace plimsoll
