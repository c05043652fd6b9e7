// Quantizers of q2_k to q6_k: fit each sub-block, code the scales (and minima) of a block with few bits, then code the
// values anew with the scales as they are stored. Where a stored scale is 0 the codes of the fit remain.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "quant/ggml/ggml_codec.h"
#include "quant/ggml/ggml_k_search.h"
#include "quant/rounding.h"

namespace plimsoll::ggml {
namespace {

using Codes = std::array<uint8_t, 256>;

template <int kLanes, int kCount>
Codes codes_of(const Fit<kLanes, kCount>& fit) {
  Codes codes;
  for (int lane = 0; lane < kLanes; ++lane)
    for (int i = 0; i < kCount; ++i)
      codes[static_cast<size_t>(lane * kCount + i)] = static_cast<uint8_t>(fit.codes[i][lane]);
  return codes;
}

// Codes of `count` values from `first` on: round((x + minimum) / scale) + offset, 0 … most.
void code_again(const float* in, int first, int count, float scale, float minimum, int offset, int most, Codes& codes) {
  if (scale == 0) return;
  for (int i = first; i < first + count; ++i) {
    const int code = nearest_int((in[i] + minimum) / scale) + offset;
    codes[static_cast<size_t>(i)] = static_cast<uint8_t>(std::clamp(code, 0, most));
  }
}

// Two bits of each code; 32 bytes hold four runs of 32 codes.
void pack_pairs_of_bits(const Codes& codes, uint8_t* out) {
  for (size_t i = 0; i < 64; ++i) {
    const uint8_t* c = codes.data() + 128 * (i / 32) + i % 32;
    out[i] = static_cast<uint8_t>((c[0] & 3) | ((c[32] & 3) << 2) | ((c[64] & 3) << 4) | ((c[96] & 3) << 6));
  }
}

// Four bits of each code; 32 bytes hold two runs of 32 codes.
void pack_nibbles(const Codes& codes, uint8_t* out) {
  for (size_t i = 0; i < 128; ++i) {
    const uint8_t* c = codes.data() + 64 * (i / 32) + i % 32;
    out[i] = static_cast<uint8_t>((c[0] & 15) | ((c[32] & 15) << 4));
  }
}

template <size_t kLanes>
float largest_of(const std::array<float, kLanes>& values) {
  float largest = 0;
  for (const float value : values) largest = value > largest ? value : largest;
  return largest;
}

template <size_t kLanes>
float extreme_of(const std::array<float, kLanes>& values) {
  float extreme = 0;
  for (const float value : values) extreme = std::fabs(value) > std::fabs(extreme) ? value : extreme;
  return extreme;
}

void write_q2_k(const float* in, uint8_t* out) {
  const auto x = to_lanes<16, 16>(in);
  auto weight = x;
  for (auto& row : weight)
    for (float& w : row) w = std::fabs(w);
  const Fit<16, 16> fit = fit_with_minimum<16, 16>(x, weight, {3, -0.5F, 0.1F, 15, true});
  const float most_scale = largest_of(fit.scale), most_minimum = largest_of(fit.minimum);
  const float inverse_scale = most_scale > 0 ? 15 / most_scale : 0.0F;
  const float inverse_minimum = most_minimum > 0 ? 15 / most_minimum : 0.0F;
  const float d = store_f16(out + 80, most_scale / 15), dmin = store_f16(out + 82, most_minimum / 15);
  Codes codes = codes_of(fit);
  for (int j = 0; j < 16; ++j) {
    const auto lane = static_cast<size_t>(j);
    const int scale = std::clamp(nearest_int(inverse_scale * fit.scale[lane]), 0, 15);
    const int minimum = std::clamp(nearest_int(inverse_minimum * fit.minimum[lane]), 0, 15);
    out[j] = static_cast<uint8_t>(scale | (minimum << 4));
    code_again(in, 16 * j, 16, d * static_cast<float>(scale), dmin * static_cast<float>(minimum), 0, 3, codes);
  }
  pack_pairs_of_bits(codes, out + 16);
}

void write_q3_k(const float* in, uint8_t* out) {
  const Fit<16, 16> fit = fit_symmetric_by_moves<16, 16>(to_lanes<16, 16>(in), 4);
  const float extreme = extreme_of(fit.scale);
  const float inverse_scale = extreme != 0 ? -32 / extreme : 0.0F;
  const float d = store_f16(out + 108, inverse(inverse_scale));
  std::memset(out, 0, 32);
  std::memset(out + 96, 0, 12);
  Codes codes = codes_of(fit);
  for (int j = 0; j < 16; ++j) {
    int scale = std::clamp(nearest_int(inverse_scale * fit.scale[static_cast<size_t>(j)]), -32, 31);
    if (extreme == 0) scale = -32;  // no scale at all is stored as zero bits
    const int stored = scale + 32;
    uint8_t* packed = out + 96;
    packed[j % 8] = static_cast<uint8_t>(packed[j % 8] | ((stored & 15) << (j < 8 ? 0 : 4)));
    packed[8 + j % 4] = static_cast<uint8_t>(packed[8 + j % 4] | ((stored >> 4) << (2 * (j / 4))));
    code_again(in, 16 * j, 16, d * static_cast<float>(scale), 0, 4, 7, codes);
  }
  for (size_t i = 0; i < 256; ++i) out[i % 32] = static_cast<uint8_t>(out[i % 32] | ((codes[i] >> 2) << (i / 32)));
  pack_pairs_of_bits(codes, out + 32);
}

// What q4_k and q5_k share: d, dmin, twelve bytes of scales and minima, and the codes.
Codes write_scales_of_32(const float* in, const MinimumSearch& search, uint8_t* out) {
  const auto x = to_lanes<8, 32>(in);
  std::array<float, 8> sum{};
  for (const auto& row : x)
    for (size_t j = 0; j < 8; ++j) sum[j] += row[j] * row[j];
  auto weight = x;
  for (size_t j = 0; j < 8; ++j) {
    const float mean = std::sqrt(sum[j] / 32);
    for (auto& row : weight) row[j] = mean + std::fabs(row[j]);
  }
  const Fit<8, 32> fit = fit_with_minimum<8, 32>(x, weight, search);
  const float most_scale = largest_of(fit.scale), most_minimum = largest_of(fit.minimum);
  const float inverse_scale = most_scale > 0 ? 63 / most_scale : 0.0F;
  const float inverse_minimum = most_minimum > 0 ? 63 / most_minimum : 0.0F;
  const float d = store_f16(out, most_scale / 63), dmin = store_f16(out + 2, most_minimum / 63);
  Codes codes = codes_of(fit);
  uint8_t* packed = out + 4;
  std::memset(packed, 0, 12);
  for (int j = 0; j < 8; ++j) {
    const auto lane = static_cast<size_t>(j);
    // A negative one wraps, as the unsigned byte that ggml has there.
    const int scale = std::min<int>(63, static_cast<uint8_t>(nearest_int(inverse_scale * fit.scale[lane])));
    const int minimum = std::min<int>(63, static_cast<uint8_t>(nearest_int(inverse_minimum * fit.minimum[lane])));
    const auto add = [&](int at, int bits) { packed[at] = static_cast<uint8_t>(packed[at] | bits); };
    if (j < 4) {
      add(j, scale);
      add(j + 4, minimum);
    } else {
      add(j + 4, (scale & 15) | ((minimum & 15) << 4));
      add(j - 4, (scale >> 4) << 6);
      add(j, (minimum >> 4) << 6);
    }
    code_again(in, 32 * j, 32, d * static_cast<float>(scale), dmin * static_cast<float>(minimum), 0,
               static_cast<int>(search.most), codes);
  }
  return codes;
}

void write_q4_k(const float* in, uint8_t* out) {
  pack_nibbles(write_scales_of_32(in, {15, -1.0F, 0.1F, 20, false}, out), out + 16);
}

void write_q5_k(const float* in, uint8_t* out) {
  const Codes codes = write_scales_of_32(in, {31, -0.5F, 0.1F, 15, false}, out);
  std::memset(out + 16, 0, 32);
  for (size_t i = 0; i < 256; ++i)
    out[16 + i % 32] = static_cast<uint8_t>(out[16 + i % 32] | ((codes[i] >> 4) << (i / 32)));
  pack_nibbles(codes, out + 48);
}

void write_q6_k(const float* in, uint8_t* out) {
  const Fit<16, 16> fit = fit_symmetric<16, 16>(to_lanes<16, 16>(in), 32);
  const float extreme = extreme_of(fit.scale);
  if (!(std::fabs(extreme) >= kTiny)) {
    std::memset(out, 0, 210);
    return;
  }
  const float inverse_scale = -128 / extreme;
  const float d = store_f16(out + 208, 1 / inverse_scale);
  Codes codes = codes_of(fit);
  for (int j = 0; j < 16; ++j) {
    const int scale = std::min(127, nearest_int(inverse_scale * fit.scale[static_cast<size_t>(j)]));
    out[192 + j] = static_cast<uint8_t>(scale);
    code_again(in, 16 * j, 16, d * static_cast<float>(static_cast<int8_t>(scale)), 0, 32, 63, codes);
  }
  for (size_t half = 0; half < 2; ++half) {
    for (size_t i = 0; i < 32; ++i) {
      const uint8_t* c = codes.data() + 128 * half + i;
      out[64 * half + i] = static_cast<uint8_t>((c[0] & 15) | ((c[64] & 15) << 4));
      out[64 * half + 32 + i] = static_cast<uint8_t>((c[32] & 15) | ((c[96] & 15) << 4));
      const int high = (c[0] >> 4) | ((c[32] >> 4) << 2) | ((c[64] >> 4) << 4) | ((c[96] >> 4) << 6);
      out[128 + 32 * half + i] = static_cast<uint8_t>(high);
    }
  }
}

}  // namespace

Write k_writer(DType type) {
  switch (type) {
    case DType::q2_k:
      return write_each<write_q2_k, 84, 256>;
    case DType::q3_k:
      return write_each<write_q3_k, 110, 256>;
    case DType::q4_k:
      return write_each<write_q4_k, 144, 256>;
    case DType::q5_k:
      return write_each<write_q5_k, 176, 256>;
    case DType::q6_k:
      return write_each<write_q6_k, 210, 256>;
    default:
      return nullptr;
  }
}

}  // namespace plimsoll::ggml
