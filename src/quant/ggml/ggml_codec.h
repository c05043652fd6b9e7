// What the files of the block types share. Not for use outside of quant/ggml_*.cpp.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/dtype.h"
#include "quant/half.h"

namespace plimsoll::ggml {

// Whole blocks, at any alignment. Writers read finite values; NaN and infinity give codes without meaning.
using Read = void (*)(const uint8_t* in, int64_t blocks, float* out);
using Write = void (*)(const float* in, int64_t blocks, uint8_t* out);

struct Codec {
  Read read = nullptr;
  Write write = nullptr;  // nullptr: no quantizer here
};

// Each empty for a type that is not its own.
Codec codec_of_32(DType type);        // ggml_q32.cpp: q4_0 to q8_0
Codec codec_of_k(DType type);         // ggml_k_read.cpp, ggml_k_write.cpp: q2_k to q6_k
Codec codec_of_lattice(DType type);   // ggml_lattice.cpp: iq1 to iq3
Codec codec_of_four_bit(DType type);  // ggml_four_bit.cpp: iq4_nl, iq4_xs, mxfp4, nvfp4
Codec codec_of_ternary(DType type);   // ggml_ternary.cpp: tq1_0, tq2_0, q1_0

Write k_writer(DType type);  // ggml_k_write.cpp

template <void (*kRead)(const uint8_t*, float*), int kBytes, int kElements>
void read_each(const uint8_t* in, int64_t blocks, float* out) {
  for (int64_t i = 0; i < blocks; ++i) kRead(in + i * kBytes, out + i * kElements);
}

template <void (*kWrite)(const float*, uint8_t*), int kBytes, int kElements>
void write_each(const float* in, int64_t blocks, uint8_t* out) {
  for (int64_t i = 0; i < blocks; ++i) kWrite(in + i * kElements, out + i * kBytes);
}

inline uint16_t load_u16(const uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  return bits;
}

inline uint32_t load_u32(const uint8_t* at) {
  uint32_t bits;
  std::memcpy(&bits, at, 4);
  return bits;
}

inline float load_f16(const uint8_t* at) { return inline_half::from_f16(load_u16(at)); }

// Returns the value that was stored.
inline float store_f16(uint8_t* at, float value) {
  const uint16_t bits = inline_half::to_f16(value);
  std::memcpy(at, &bits, 2);
  return inline_half::from_f16(bits);
}

inline float inverse(float d) { return d != 0 ? 1.0F / d : 0.0F; }

// Also defined for NaN (the least) and infinity, where a conversion to integer alone is not.
inline int clamp(float value, int least, int most) {
  const auto low = static_cast<float>(least), high = static_cast<float>(most);
  return static_cast<int>(value > low ? (value < high ? value : high) : low);
}

struct ScaleAndMinimum {
  float scale, minimum;
};

// The eight pairs of six-bit numbers that Q4_K and Q5_K pack into 12 bytes.
inline ScaleAndMinimum scale_of_32(const uint8_t* packed, int j, float d, float dmin) {
  const int scale = j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4);
  const int minimum = j < 4 ? packed[j + 4] & 63 : (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4);
  return {d * static_cast<float>(scale), dmin * static_cast<float>(minimum)};
}

}  // namespace plimsoll::ggml
