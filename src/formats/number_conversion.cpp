#include "formats/number_conversion.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "quant/ggml/ggml_blocks.h"
#include "quant/half.h"

namespace plimsoll {
namespace {

// One loop body for every plain type; memcpy because files promise no alignment.
template <typename Stored, typename Convert>
inline void decode_loop(const std::byte* in, float* out, size_t count, Convert convert) {
  for (size_t i = 0; i < count; ++i) {
    Stored value;
    std::memcpy(&value, in + i * sizeof(Stored), sizeof(Stored));
    out[i] = convert(value);
  }
}

template <typename Stored, typename Convert>
inline void encode_loop(const float* in, std::byte* out, size_t count, Convert convert) {
  for (size_t i = 0; i < count; ++i) {
    const Stored value = convert(in[i]);
    std::memcpy(out + i * sizeof(Stored), &value, sizeof(Stored));
  }
}

bool can_encode(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || can_quantize_blocks(dtype);
}

}  // namespace

bool can_decode(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::f16 || dtype == DType::bf16 ||
         is_block_type(dtype);
}

void decode_values(DType from, const std::byte* in, std::span<float> out) {
  if (out.empty()) return;
  switch (from) {
    case DType::f32:
      std::memcpy(out.data(), in, out.size_bytes());
      return;
    case DType::f64:
      decode_loop<double>(in, out.data(), out.size(), [](double value) { return static_cast<float>(value); });
      return;
    case DType::f16:
      decode_loop<uint16_t>(in, out.data(), out.size(), inline_half::from_f16);
      return;
    case DType::bf16:
      decode_loop<uint16_t>(in, out.data(), out.size(), inline_half::from_bf16);
      return;
    default:
      break;
  }
  PLIMSOLL_CHECK(is_block_type(from), "this type holds no values to decode");
  const auto elements = static_cast<size_t>(dtype_info(from).block_elements);
  PLIMSOLL_CHECK(out.size() % elements == 0, "a part of a block cannot be decoded");
  dequantize_blocks(from, in, static_cast<int64_t>(out.size() / elements), out.data());
}

void encode_values(DType to, std::span<const float> in, std::byte* out) {
  if (in.empty()) return;
  switch (to) {
    case DType::f32:
      std::memcpy(out, in.data(), in.size_bytes());
      return;
    case DType::f16:
      encode_loop<uint16_t>(in.data(), out, in.size(), inline_half::to_f16);
      return;
    case DType::bf16:
      encode_loop<uint16_t>(in.data(), out, in.size(), inline_half::to_bf16);
      return;
    default:
      break;
  }
  PLIMSOLL_CHECK(can_encode(to), "this type cannot be written");
  const auto elements = static_cast<size_t>(dtype_info(to).block_elements);
  PLIMSOLL_CHECK(in.size() % elements == 0, "a part of a block cannot be encoded");
  quantize_blocks(to, in.data(), static_cast<int64_t>(in.size() / elements), out);
}

}  // namespace plimsoll
