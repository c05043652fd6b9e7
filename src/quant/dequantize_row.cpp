#include "quant/dequantize_row.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "quant/fp8.h"
#include "quant/ggml/ggml_blocks.h"
#include "quant/ggml/ggml_codec.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/dequantize_row.cpp"
// foreach_target comes first: it includes this file again for each target.
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "quant/code_lanes-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace plimsoll::HWY_NAMESPACE {
namespace {
HWY_INLINE void store(VF value, float* out) { hn::StoreU(value, DF(), out); }

HWY_INLINE void store(VF value, uint16_t* out) {
  const DU du;
  const hn::Rebind<uint16_t, DF> d16;
  const auto bits = hn::BitCast(du, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fff))));
  const auto quiet = hn::Or(hn::ShiftRight<16>(bits), hn::Set(du, 0x40));
  const auto nan = hn::Gt(hn::And(bits, hn::Set(du, 0x7fffffff)), hn::Set(du, 0x7f800000));
  hn::StoreU(hn::TruncateTo(d16, hn::IfThenElse(nan, quiet, rounded)), d16, out);
}

template <typename Out>
void q4_0_row(const uint8_t* in, int64_t blocks, Out* out) {
  const size_t lanes = hn::Lanes(DF());
  for (; blocks > 0; --blocks, in += 18, out += 32) {
    const auto d = hn::Set(DF(), ggml::load_f16(in));
    const auto half = hn::Set(DI(), 8);
    for (size_t i = 0; i < 16; i += lanes) {
      const auto bytes = load_bytes(in + 2 + i);
      store(hn::Mul(to_float(hn::Sub(low_nibbles(bytes), half)), d), out + i);
      store(hn::Mul(to_float(hn::Sub(high_nibbles(bytes), half)), d), out + 16 + i);
    }
  }
}

template <typename Out>
void q4_1_row(const uint8_t* in, int64_t blocks, Out* out) {
  const size_t lanes = hn::Lanes(DF());
  for (; blocks > 0; --blocks, in += 20, out += 32) {
    const auto d = hn::Set(DF(), ggml::load_f16(in)), m = hn::Set(DF(), ggml::load_f16(in + 2));
    for (size_t i = 0; i < 16; i += lanes) {
      const auto bytes = load_bytes(in + 4 + i);
      store(hn::Add(hn::Mul(to_float(low_nibbles(bytes)), d), m), out + i);
      store(hn::Add(hn::Mul(to_float(high_nibbles(bytes)), d), m), out + 16 + i);
    }
  }
}

template <typename Out>
void q8_0_row(const uint8_t* in, int64_t blocks, Out* out) {
  const hn::Rebind<int8_t, DF> d8;
  const size_t lanes = hn::Lanes(DF());
  for (; blocks > 0; --blocks, in += 34, out += 32) {
    const auto d = hn::Set(DF(), ggml::load_f16(in));
    for (size_t i = 0; i < 32; i += lanes) {
      const auto codes = hn::LoadU(d8, reinterpret_cast<const int8_t*>(in) + 2 + i);
      store(hn::Mul(to_float(hn::PromoteTo(DI(), codes)), d), out + i);
    }
  }
}

template <typename Out>
void q4_k_row(const uint8_t* in, int64_t blocks, Out* out) {
  const size_t lanes = hn::Lanes(DF());
  for (; blocks > 0; --blocks, in += 144) {
    const float d = ggml::load_f16(in), dmin = ggml::load_f16(in + 2);
    for (int k = 0; k < 4; ++k, out += 64) {
      const auto a = ggml::scale_of_32(in + 4, 2 * k, d, dmin), b = ggml::scale_of_32(in + 4, 2 * k + 1, d, dmin);
      const auto a_scale = hn::Set(DF(), a.scale), a_minimum = hn::Set(DF(), a.minimum);
      const auto b_scale = hn::Set(DF(), b.scale), b_minimum = hn::Set(DF(), b.minimum);
      for (size_t i = 0; i < 32; i += lanes) {
        const auto bytes = load_bytes(in + 16 + 32 * k + i);
        store(hn::Sub(hn::Mul(a_scale, to_float(low_nibbles(bytes))), a_minimum), out + i);
        store(hn::Sub(hn::Mul(b_scale, to_float(high_nibbles(bytes))), b_minimum), out + 32 + i);
      }
    }
  }
}

template <typename Out>
void q6_k_row(const uint8_t* in, int64_t blocks, Out* out) {
  const DI di;
  const size_t lanes = hn::Lanes(DF());
  for (; blocks > 0; --blocks, in += 210) {
    const float d = ggml::load_f16(in + 208);
    for (int half = 0; half < 2; ++half, out += 128) {
      const uint8_t *low = in + 64 * half, *high = in + 128 + 32 * half;
      const auto scale = [&](size_t quarter, size_t part) {
        return hn::Set(DF(), d * static_cast<float>(static_cast<int8_t>(in[192 + 8 * half + 2 * quarter + part])));
      };
      for (size_t part = 0; part < 2; ++part) {
        const auto s0 = scale(0, part), s1 = scale(1, part), s2 = scale(2, part), s3 = scale(3, part);
        for (size_t i = 16 * part; i < 16 * part + 16; i += lanes) {
          const auto a = load_bytes(low + i), b = load_bytes(low + 32 + i), h = load_bytes(high + i);
          const auto two_bits = hn::Set(di, 0x30), offset = hn::Set(di, 32);
          const auto put = [&](VI nibbles, VI bits, VF factor, Out* at) {
            const auto code = hn::Sub(hn::Or(nibbles, hn::And(bits, two_bits)), offset);
            store(hn::Mul(factor, to_float(code)), at);
          };
          put(low_nibbles(a), hn::ShiftLeft<4>(h), s0, out + i);
          put(low_nibbles(b), hn::ShiftLeft<2>(h), s1, out + 32 + i);
          put(high_nibbles(a), h, s2, out + 64 + i);
          put(high_nibbles(b), hn::ShiftRight<2>(h), s3, out + 96 + i);
        }
      }
    }
  }
}

// `count` values (whole vectors) of one block, from an even element on; the first of two codes is in the high nibble.
template <typename Out>
void bnb4_run(const CodeValues& table, const uint8_t* in, float absmax, int64_t count, Out* out) {
  const hn::Rebind<uint8_t, DF> d8;
  const hn::RepartitionToWide<decltype(d8)> d16;
  const hn::Rebind<uint8_t, decltype(d16)> half;
  const auto lanes = static_cast<int64_t>(hn::Lanes(DF()));
  const auto scale = hn::Set(DF(), absmax);
  for (int64_t i = 0; i < count; i += lanes) {
    const auto pairs = hn::PromoteTo(d16, hn::LoadU(half, in + i / 2));
    const auto first = hn::ShiftRight<4>(pairs), second = hn::ShiftLeft<8>(hn::And(pairs, hn::Set(d16, 15)));
    const auto codes = hn::BitCast(d8, hn::Or(first, second));
    store(hn::Mul(table(hn::PromoteTo(DI(), codes)), scale), out + i);
  }
}

template <typename Out>
bool block_row(DType type, const uint8_t* in, int64_t blocks, Out* out) {
  switch (type) {
    case DType::q4_0:
      q4_0_row(in, blocks, out);
      return true;
    case DType::q4_1:
      q4_1_row(in, blocks, out);
      return true;
    case DType::q8_0:
      q8_0_row(in, blocks, out);
      return true;
    case DType::q4_k:
      q4_k_row(in, blocks, out);
      return true;
    case DType::q6_k:
      q6_k_row(in, blocks, out);
      return true;
    default:
      return false;
  }
}

template <typename Out>
int64_t int8_part(const uint8_t* in, int64_t n, float scale, Out* out) {
  const hn::Rebind<int8_t, DF> d8;
  const auto lanes = static_cast<int64_t>(hn::Lanes(DF()));
  const auto factor = hn::Set(DF(), scale);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    store(hn::Mul(to_float(hn::PromoteTo(DI(), hn::LoadU(d8, reinterpret_cast<const int8_t*>(in) + i))), factor),
          out + i);
  return i;
}

// The fields of e4m3 mean 2^-120 of the value as a float's; the one NaN is put in.
template <typename Out>
int64_t e4m3_part(const uint8_t* in, int64_t n, float scale, Out* out) {
  const DU du;
  const hn::Rebind<uint8_t, DF> d8;
  const auto lanes = static_cast<int64_t>(hn::Lanes(DF()));
  const auto factor = hn::Set(DF(), scale);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto bits = hn::PromoteTo(du, hn::LoadU(d8, in + i));
    const auto magnitude = hn::And(bits, hn::Set(du, 0x7f));
    // Through the smallest normal numbers: 2^-6 and the fraction, less 2^-6, so that nothing is a subnormal float.
    const auto normal = hn::BitCast(DF(), hn::Add(hn::ShiftLeft<20>(magnitude), hn::Set(du, 120U << 23)));
    const auto small = hn::Sub(hn::BitCast(DF(), hn::Add(hn::ShiftLeft<20>(magnitude), hn::Set(du, 121U << 23))),
                               hn::Set(DF(), 0.015625F));
    auto value = hn::IfThenElse(hn::RebindMask(DF(), hn::Lt(magnitude, hn::Set(du, 8))), small, normal);
    const auto nan = hn::RebindMask(DF(), hn::Eq(magnitude, hn::Set(du, 0x7f)));
    value = hn::IfThenElse(nan, hn::BitCast(DF(), hn::Set(du, 0x7fc00000U)), value);
    const auto sign = hn::BitCast(DF(), hn::ShiftLeft<24>(hn::And(bits, hn::Set(du, 0x80))));
    store(hn::Mul(hn::Or(value, sign), factor), out + i);
  }
  return i;
}

template <typename Out>
int64_t code_part(RowCode code, const uint8_t* in, int64_t n, float scale, Out* out) {
  return code == RowCode::int8 ? int8_part(in, n, scale, out) : e4m3_part(in, n, scale, out);
}
int64_t code_part_f32(RowCode code, const uint8_t* in, int64_t n, float scale, float* out) {
  return code_part(code, in, n, scale, out);
}
int64_t code_part_bf16(RowCode code, const uint8_t* in, int64_t n, float scale, uint16_t* out) {
  return code_part(code, in, n, scale, out);
}

bool block_row_f32(DType type, const uint8_t* in, int64_t blocks, float* out) {
  return block_row(type, in, blocks, out);
}
bool block_row_bf16(DType type, const uint8_t* in, int64_t blocks, uint16_t* out) {
  return block_row(type, in, blocks, out);
}

// The part of [first, last), within one block, that is whole vectors from an even element on; returns its end.
template <typename Out>
int64_t bnb4_part(const float* values, const uint8_t* packed, float absmax, int64_t first, int64_t last, Out* out) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(DF()));
  if (lanes < 4 || first % 2 != 0) return first;
  const int64_t count = (last - first) / lanes * lanes;
  bnb4_run(CodeValues(values), packed + first / 2, absmax, count, out);
  return first + count;
}
int64_t bnb4_part_f32(const float* values, const uint8_t* packed, float absmax, int64_t first, int64_t last,
                      float* out) {
  return bnb4_part(values, packed, absmax, first, last, out);
}
int64_t bnb4_part_bf16(const float* values, const uint8_t* packed, float absmax, int64_t first, int64_t last,
                       uint16_t* out) {
  return bnb4_part(values, packed, absmax, first, last, out);
}

}  // namespace
}  // namespace plimsoll::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll {
namespace {

HWY_EXPORT(block_row_f32);
HWY_EXPORT(block_row_bf16);
HWY_EXPORT(bnb4_part_f32);
HWY_EXPORT(bnb4_part_bf16);
HWY_EXPORT(code_part_f32);
HWY_EXPORT(code_part_bf16);

float value_of(RowCode code, uint8_t bits) {
  return code == RowCode::int8 ? static_cast<float>(static_cast<int8_t>(bits)) : from_e4m3(bits);
}

int64_t blocks_in(DType type, int64_t n) {
  const int elements = dtype_info(type).block_elements;
  PLIMSOLL_CHECK(n % elements == 0, "a part of a block");
  return n / elements;
}

template <typename Out, typename Part>
void bnb4_row(Bnb4Type type, const uint8_t* packed, const float* absmax, int64_t block, int64_t first, int64_t count,
              Out* out, Part part, Out (*convert)(float)) {
  const std::array<float, 16>& values = bnb4_values(type);
  const int64_t last = first + count;
  const auto put_one = [&](int64_t i) {
    const int code = (packed[i / 2] >> (i % 2 == 0 ? 4 : 0)) & 15;
    *out++ = convert(values[static_cast<size_t>(code)] * absmax[i / block]);
  };
  for (int64_t i = first; i < last;) {
    const int64_t end = std::min(last, (i / block + 1) * block);
    if (i % 2 != 0) put_one(i++);
    const int64_t done = part(values.data(), packed, absmax[std::min(i, end - 1) / block], i, end, out);
    out += done - i;
    for (i = done; i < end; ++i) put_one(i);
  }
}

}  // namespace

void dequantize_row(DType type, const std::byte* in, int64_t n, float* out) {
  const int64_t blocks = blocks_in(type, n);
  if (!HWY_DYNAMIC_DISPATCH(block_row_f32)(type, reinterpret_cast<const uint8_t*>(in), blocks, out))
    dequantize_blocks(type, in, blocks, out);
}

void dequantize_row(DType type, const std::byte* in, int64_t n, uint16_t* out) {
  const int64_t blocks = blocks_in(type, n);
  if (HWY_DYNAMIC_DISPATCH(block_row_bf16)(type, reinterpret_cast<const uint8_t*>(in), blocks, out)) return;
  const DTypeInfo& info = dtype_info(type);
  std::array<float, 256> values;
  const int64_t at_once = 256 / info.block_elements;
  for (int64_t block = 0; block < blocks; block += at_once) {
    const int64_t count = std::min(at_once, blocks - block), elements = count * info.block_elements;
    dequantize_blocks(type, in + block * info.block_bytes, count, values.data());
    for (int64_t i = 0; i < elements; ++i) *out++ = inline_half::to_bf16(values[static_cast<size_t>(i)]);
  }
}

void dequantize_row(Bnb4Type type, const uint8_t* packed, const float* absmax, int64_t block, int64_t first,
                    int64_t count, float* out) {
  bnb4_row(
      type, packed, absmax, block, first, count, out,
      [](auto... arguments) { return HWY_DYNAMIC_DISPATCH(bnb4_part_f32)(arguments...); }, +[](float x) { return x; });
}

void dequantize_row(Bnb4Type type, const uint8_t* packed, const float* absmax, int64_t block, int64_t first,
                    int64_t count, uint16_t* out) {
  bnb4_row(
      type, packed, absmax, block, first, count, out,
      [](auto... arguments) { return HWY_DYNAMIC_DISPATCH(bnb4_part_bf16)(arguments...); },
      +[](float x) { return inline_half::to_bf16(x); });
}

void dequantize_row(RowCode code, const uint8_t* in, int64_t n, float scale, float* out) {
  for (int64_t i = HWY_DYNAMIC_DISPATCH(code_part_f32)(code, in, n, scale, out); i < n; ++i)
    out[i] = value_of(code, in[i]) * scale;
}

void dequantize_row(RowCode code, const uint8_t* in, int64_t n, float scale, uint16_t* out) {
  for (int64_t i = HWY_DYNAMIC_DISPATCH(code_part_bf16)(code, in, n, scale, out); i < n; ++i)
    out[i] = inline_half::to_bf16(value_of(code, in[i]) * scale);
}

}  // namespace plimsoll
#endif
