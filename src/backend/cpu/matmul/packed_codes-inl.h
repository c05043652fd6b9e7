// Readers of a packed row, 32 weights at a time, for packed_dot.cpp. Compiled once per target (Highway's
// foreach_target). Formats: quant/packed_matrix.h, quant/ggml/ggml_blocks.h.
//
// A reader has
//   start(matrix, row)  at the row's begin
//   next(weights)       the next 32 weights, times 1 / factor()
//   factor()            of the whole row
//   at                  what comes next
//   kInPairs            weights come as elements 0, 2, 4, … 30 and 1, 3, … 31, not as 0 … 31
#if defined(PLIMSOLL_PACKED_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PLIMSOLL_PACKED_CODES_INL_H_
#undef PLIMSOLL_PACKED_CODES_INL_H_
#else
#define PLIMSOLL_PACKED_CODES_INL_H_
#endif

#include <hwy/highway.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "quant/bnb/bnb4.h"
#include "quant/bnb/int8_blockwise.h"
#include "quant/code_lanes-inl.h"
#include "quant/ggml/ggml_codec.h"
#include "quant/packed_matrix.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {
namespace packed {
namespace hn = hwy::HWY_NAMESPACE;
using plimsoll::HWY_NAMESPACE::CodeValues;
using plimsoll::HWY_NAMESPACE::DF;
using plimsoll::HWY_NAMESPACE::DI;
using plimsoll::HWY_NAMESPACE::high_nibbles;
using plimsoll::HWY_NAMESPACE::load_bytes;
using plimsoll::HWY_NAMESPACE::low_nibbles;
using plimsoll::HWY_NAMESPACE::to_float;
using plimsoll::HWY_NAMESPACE::VF;
using plimsoll::HWY_NAMESPACE::VI;

inline constexpr int64_t kRun = 32;
inline constexpr int64_t kLanes = hn::MaxLanes(DF());
inline constexpr int kVectors = kRun / kLanes;

HWY_INLINE VI load_signed(const uint8_t* in) {
  return hn::PromoteTo(DI(), hn::LoadU(hn::Rebind<int8_t, DF>(), reinterpret_cast<const int8_t*>(in)));
}

struct Floats2 {
  float first, second;
};
// Two neighbouring f16.
HWY_INLINE Floats2 load_f16_pair(const uint8_t* in) {
#if HWY_TARGET == HWY_SCALAR
  return {ggml::load_f16(in), ggml::load_f16(in + 2)};
#else
  // Through memory: there a load broadcasts at no cost, where a shuffle would compete with the arithmetic.
  const hn::CappedTag<float, 2> d;
  const auto halves = hn::LoadU(hn::Rebind<hwy::float16_t, decltype(d)>(), reinterpret_cast<const hwy::float16_t*>(in));
  Floats2 pair;
  hn::StoreU(hn::PromoteTo(d, halves), d, &pair.first);
  return pair;
#endif
}

// The values scale · code + offset of codes in the low four bits; others are ignored.
struct Ramp {
#if HWY_TARGET == HWY_AVX3
  VF values;
  HWY_INLINE Ramp(float scale, float offset)
      : values(hn::MulAdd(hn::Iota(DF(), 0), hn::Set(DF(), scale), hn::Set(DF(), offset))) {}
  HWY_INLINE VF operator()(VI codes) const { return VF{_mm512_permutexvar_ps(codes.raw, values.raw)}; }
#else
  VF scales, offsets;
  HWY_INLINE Ramp(float scale, float offset) : scales(hn::Set(DF(), scale)), offsets(hn::Set(DF(), offset)) {}
  HWY_INLINE VF operator()(VI codes) const { return hn::MulAdd(to_float(low_nibbles(codes)), scales, offsets); }
#endif
};

// 16 bytes: elements 0 to 15 in the low nibbles, 16 to 31 in the high ones.
HWY_INLINE void next_nibbles(const uint8_t* codes, const Ramp& value_of, VF* weights) {
  for (int64_t i = 0; i < 16; i += kLanes) {
    const VI bytes = load_bytes(codes + i);
    weights[i / kLanes] = value_of(bytes);
    weights[(16 + i) / kLanes] = value_of(high_nibbles(bytes));
  }
}

// Bits i, i + 1, … of a word, one for each lane, as 16 or 0.
HWY_INLINE VI fifth_bits(uint32_t word, int64_t i) {
  const VI lane_bits = hn::Shl(hn::Set(DI(), 1), hn::Iota(DI(), static_cast<int32_t>(i)));
  const auto is_set = hn::TestBit(hn::Set(DI(), static_cast<int32_t>(word)), lane_bits);
  return hn::IfThenElseZero(is_set, hn::Set(DI(), 16));
}

// Rows of GGUF's blocks.
template <int kBlockBytes, int kBlockElements>
struct Blocks {
  static constexpr bool kInPairs = false;
  const uint8_t* at;
  HWY_INLINE void start(const PackedMatrix& b, int64_t row) {
    at = reinterpret_cast<const uint8_t*>(b.data) + row * (b.cols / kBlockElements) * kBlockBytes;
  }
  HWY_INLINE float factor() const { return 1; }
};

struct Q4_0 : Blocks<18, 32> {
  HWY_INLINE void next(VF* weights) {
    const float d = load_f16_pair(at).first;
    next_nibbles(at + 2, Ramp(d, -8 * d), weights);
    at += 18;
  }
};

struct Q4_1 : Blocks<20, 32> {
  HWY_INLINE void next(VF* weights) {
    const Floats2 scale = load_f16_pair(at);
    next_nibbles(at + 4, Ramp(scale.first, scale.second), weights);
    at += 20;
  }
};

HWY_INLINE void next_five_bits(const uint8_t* nibbles, uint32_t high, float scale, float offset, VF* weights) {
  const VF scales = hn::Set(DF(), scale), offsets = hn::Set(DF(), offset);
  for (int64_t i = 0; i < 16; i += kLanes) {
    const VI bytes = load_bytes(nibbles + i);
    const VI low_codes = hn::Or(low_nibbles(bytes), fifth_bits(high, i));
    const VI high_codes = hn::Or(high_nibbles(bytes), fifth_bits(high, 16 + i));
    weights[i / kLanes] = hn::MulAdd(to_float(low_codes), scales, offsets);
    weights[(16 + i) / kLanes] = hn::MulAdd(to_float(high_codes), scales, offsets);
  }
}

struct Q5_0 : Blocks<22, 32> {
  HWY_INLINE void next(VF* weights) {
    const float d = load_f16_pair(at).first;
    next_five_bits(at + 6, ggml::load_u32(at + 2), d, -16 * d, weights);
    at += 22;
  }
};

struct Q5_1 : Blocks<24, 32> {
  HWY_INLINE void next(VF* weights) {
    const Floats2 scale = load_f16_pair(at);
    next_five_bits(at + 8, ggml::load_u32(at + 4), scale.first, scale.second, weights);
    at += 24;
  }
};

struct Q8_0 : Blocks<34, 32> {
  HWY_INLINE void next(VF* weights) {
    const VF d = hn::Set(DF(), load_f16_pair(at).first);
    for (int64_t i = 0; i < kRun; i += kLanes) weights[i / kLanes] = hn::Mul(to_float(load_signed(at + 2 + i)), d);
    at += 34;
  }
};

// Blocks of 256 are read in eight parts.
template <int kBlockBytes>
struct SuperBlocks : Blocks<kBlockBytes, 256> {
  int part = 0;
  HWY_INLINE void step() {
    part = (part + 1) % 8;
    if (part == 0) this->at += kBlockBytes;
  }
};

// As ggml::scale_of_32, all eight at once: six-bit numbers of which the last four are cut in two.
struct SuperScales {
  HWY_ALIGN float scale[8];
  HWY_ALIGN float minus_minimum[8];

  HWY_INLINE void read(const uint8_t* block) {
    const hn::CappedTag<float, 8> d;
    const hn::Rebind<uint8_t, decltype(d)> bytes;
    const hn::RebindToSigned<decltype(d)> ints;
    const Floats2 d_and_minimum = load_f16_pair(block);
    const uint32_t a = ggml::load_u32(block + 4), b = ggml::load_u32(block + 8), c = ggml::load_u32(block + 12);
    const uint32_t scales[2] = {a & 0x3f3f3f3fU, (c & 0x0f0f0f0fU) | ((a >> 2) & 0x30303030U)};
    const uint32_t minimums[2] = {b & 0x3f3f3f3fU, ((c >> 4) & 0x0f0f0f0fU) | ((b >> 2) & 0x30303030U)};
    const auto put = [&](const uint32_t* from, float factor, float* to) {
      for (size_t i = 0; i < 8; i += hn::Lanes(d)) {
        const auto codes = hn::LoadU(bytes, reinterpret_cast<const uint8_t*>(from) + i);
        hn::StoreU(hn::Mul(hn::Set(d, factor), hn::ConvertTo(d, hn::PromoteTo(ints, codes))), d, to + i);
      }
    };
    put(scales, d_and_minimum.first, scale);
    put(minimums, -d_and_minimum.second, minus_minimum);
  }
};

template <int kBlockBytes>
struct ScaledSuperBlocks : SuperBlocks<kBlockBytes> {
  SuperScales scales;
  HWY_INLINE Floats2 scale() {
    if (this->part == 0) scales.read(this->at);
    return {scales.scale[this->part], scales.minus_minimum[this->part]};
  }
};

struct Q4K : ScaledSuperBlocks<144> {
  HWY_INLINE void next(VF* weights) {
    const Floats2 s = scale();
    const Ramp value_of(s.first, s.second);
    const uint8_t* const codes = at + 16 + 32 * (part / 2);
    const int shift = 4 * (part % 2);
    for (int64_t i = 0; i < kRun; i += kLanes)
      weights[i / kLanes] = value_of(hn::ShiftRightSame(load_bytes(codes + i), shift));
    step();
  }
};

struct Q5K : ScaledSuperBlocks<176> {
  HWY_INLINE void next(VF* weights) {
    const Floats2 s = scale();
    const VF factors = hn::Set(DF(), s.first), offsets = hn::Set(DF(), s.second);
    const uint8_t* const codes = at + 48 + 32 * (part / 2);
    const int shift = 4 * (part % 2);
    const VI one = hn::Set(DI(), 1);
    for (int64_t i = 0; i < kRun; i += kLanes) {
      const VI low = low_nibbles(hn::ShiftRightSame(load_bytes(codes + i), shift));
      const VI fifth = hn::And(hn::ShiftRightSame(load_bytes(at + 16 + i), part), one);
      weights[i / kLanes] = hn::MulAdd(to_float(hn::Or(low, hn::ShiftLeft<4>(fifth))), factors, offsets);
    }
    step();
  }
};

struct Q6K : SuperBlocks<210> {
  HWY_INLINE void next(VF* weights) {
    const int half = part / 4, quarter = part % 4;
    const uint8_t* const low = at + 64 * half + 32 * (quarter % 2);
    const uint8_t* const high = at + 128 + 32 * half;
    const float d = load_f16_pair(at + 206).second;
    const int shift = 4 * (quarter / 2);
    const VI three = hn::Set(DI(), 3), offset = hn::Set(DI(), 32);
    for (int64_t i = 0; i < kRun; i += kLanes) {
      const auto scale = static_cast<float>(static_cast<int8_t>(at[192 + 2 * part + i / 16]));
      const VI nibbles = low_nibbles(hn::ShiftRightSame(load_bytes(low + i), shift));
      const VI bits = hn::And(hn::ShiftRightSame(load_bytes(high + i), 2 * quarter), three);
      const VI code = hn::Sub(hn::Or(nibbles, hn::ShiftLeft<4>(bits)), offset);
      weights[i / kLanes] = hn::Mul(to_float(code), hn::Set(DF(), d * scale));
    }
    step();
  }
};

// Rows of whole blocks only (packed_dot.cpp asks).
struct Bnb4 {
  static constexpr bool kInPairs = true;
  const uint8_t *at, *absmax;
  const float* nested;
  CodeValues table;
  float offset;
  int64_t block;
  bool second_half = false;
  VF scale;

  // Written out: what a compiler adds itself does not get the target's instructions.
  HWY_INLINE Bnb4() : table(bnb4_values(Bnb4Type::nf4).data()), scale(hn::Zero(DF())) {}
  HWY_INLINE void start(const PackedMatrix& b, int64_t row) {
    const Bnb4Layout layout(b.rows * b.cols);
    const auto* const data = reinterpret_cast<const uint8_t*>(b.data);
    table = CodeValues(bnb4_values(b.type == DType::nf4 ? Bnb4Type::nf4 : Bnb4Type::fp4).data());
    at = data + row * b.cols / 2;
    absmax = data + layout.codes;
    nested = reinterpret_cast<const float*>(data + layout.nested);
    std::memcpy(&offset, data + layout.offset, sizeof offset);
    block = row * b.cols / kBnb4Block;
  }
  HWY_INLINE void next(VF* weights) {
    if (!second_half) {
      scale = hn::Set(DF(), dynamic_table(true).values[absmax[block]] * nested[block / kNestedBlock] + offset);
      ++block;
    }
    second_half = !second_half;
    for (int64_t i = 0; i < 16; i += kLanes) {
      const VI pairs = load_bytes(at + i);
      weights[i / kLanes] = hn::Mul(table(high_nibbles(pairs)), scale);
      weights[(16 + i) / kLanes] = hn::Mul(table(low_nibbles(pairs)), scale);
    }
    at += 16;
  }
  HWY_INLINE float factor() const { return 1; }
};

// Codes of a byte with one scale a row.
template <bool kIsFloat>
struct RowCodes {
  static constexpr bool kInPairs = false;
  const uint8_t* at;
  float scale;

  HWY_INLINE void start(const PackedMatrix& b, int64_t row) {
    at = reinterpret_cast<const uint8_t*>(b.data) + row * b.cols;
    std::memcpy(&scale, b.data + row_scales_at(b.rows * b.cols) + row * 4, sizeof scale);
  }
  HWY_INLINE void next(VF* weights) {
    for (int64_t i = 0; i < kRun; i += kLanes)
      weights[i / kLanes] = kIsFloat ? e4m3(at + i) : to_float(load_signed(at + i));
    at += kRun;
  }
  // e4m3's exponents begin 8 later than f16's.
  HWY_INLINE float factor() const { return kIsFloat ? scale * 256.0F : scale / 127.0F; }

 private:
  static HWY_INLINE VF e4m3(const uint8_t* in) {
    const hn::Rebind<uint16_t, DF> d16;
    const auto bits = hn::PromoteTo(d16, hn::LoadU(hn::Rebind<uint8_t, DF>(), in));
    const auto magnitude = hn::And(bits, hn::Set(d16, 0x7f));
    const auto half = hn::Or(hn::ShiftLeft<8>(hn::And(bits, hn::Set(d16, 0x80))), hn::ShiftLeft<7>(magnitude));
    const DF d;
    const auto value = hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, DF>(), half));
    // The largest number is 1.75 here, what follows is none. (Some CPUs promote no NaN of f16.)
    return hn::IfThenElse(hn::Gt(hn::Abs(value), hn::Set(d, 1.75F)), hn::NaN(d), value);
  }
};

}  // namespace packed
}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // PLIMSOLL_PACKED_CODES_INL_H_
