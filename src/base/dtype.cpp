#include "base/dtype.h"

#include <array>
#include <bit>
#include <limits>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr std::array<DTypeInfo, kDTypeCount> kTable = {{
    {"f32", "F32", 0, 1, 4},
    {"f64", "F64", 28, 1, 8},
    {"bf16", "BF16", 30, 1, 2},
    {"f16", "F16", 1, 1, 2},
    {"f8_e4m3", "F8_E4M3", -1, 1, 1},
    {"f8_e5m2", "F8_E5M2", -1, 1, 1},
    {"i64", "I64", 27, 1, 8},
    {"i32", "I32", 26, 1, 4},
    {"i16", "I16", 25, 1, 2},
    {"i8", "I8", 24, 1, 1},
    {"u8", "U8", -1, 1, 1},
    {"bool", "BOOL", -1, 1, 1},
    {"q4_0", "", 2, 32, 18},
    {"q4_1", "", 3, 32, 20},
    {"q5_0", "", 6, 32, 22},
    {"q5_1", "", 7, 32, 24},
    {"q8_0", "", 8, 32, 34},
    {"q2_k", "", 10, 256, 84},
    {"q3_k", "", 11, 256, 110},
    {"q4_k", "", 12, 256, 144},
    {"q5_k", "", 13, 256, 176},
    {"q6_k", "", 14, 256, 210},
    {"iq2_xxs", "", 16, 256, 66},
    {"iq2_xs", "", 17, 256, 74},
    {"iq2_s", "", 22, 256, 82},
    {"iq3_xxs", "", 18, 256, 98},
    {"iq3_s", "", 21, 256, 110},
    {"iq1_s", "", 19, 256, 50},
    {"iq1_m", "", 29, 256, 56},
    {"iq4_nl", "", 20, 32, 18},
    {"iq4_xs", "", 23, 256, 136},
    {"tq1_0", "", 34, 256, 54},
    {"tq2_0", "", 35, 256, 66},
    {"mxfp4", "", 39, 32, 17},
    {"nvfp4", "", 40, 64, 36},
    {"q1_0", "", 41, 128, 18},
    {"nf4", "", -1, 1, 0},
    {"fp4", "", -1, 1, 0},
    {"int8", "", -1, 1, 0},
    {"fp8", "", -1, 1, 0},
}};
static_assert(kTable.back().name == "fp8", "the table follows the enum");

template <typename Predicate>
std::optional<DType> find(Predicate predicate) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (predicate(kTable[static_cast<size_t>(i)])) return static_cast<DType>(i);
  return std::nullopt;
}

}  // namespace

const DTypeInfo& dtype_info(DType dtype) { return kTable[static_cast<size_t>(dtype)]; }

int64_t dtype_bytes(DType dtype, int64_t elements) {
  const DTypeInfo& info = dtype_info(dtype);
  PLIMSOLL_CHECK(elements >= 0 && elements % info.block_elements == 0, "element count is not a multiple of the block");
  PLIMSOLL_CHECK(info.block_bytes > 0, "a packed matrix has no bytes of its elements alone");
  const int64_t blocks = elements / info.block_elements;
  PLIMSOLL_CHECK(blocks <= std::numeric_limits<int64_t>::max() / info.block_bytes, "byte count overflows");
  return blocks * info.block_bytes;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  return find([&](const DTypeInfo& info) { return info.name == name; });
}

std::optional<DType> dtype_from_safetensors(std::string_view name) {
  if (name.empty()) return std::nullopt;
  return find([&](const DTypeInfo& info) { return info.safetensors_name == name; });
}

std::optional<DType> dtype_from_gguf(int gguf_type) {
  if (gguf_type < 0) return std::nullopt;
  return find([&](const DTypeInfo& info) { return info.gguf_type == gguf_type; });
}

float bf16_to_f32(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<uint16_t>((bits >> 16) | 0x40U);
  return static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fU;
  const uint32_t mantissa = bits & 0x3ffU;
  if (exponent == 0x1fU) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
  // Subnormal: mantissa * 2^-24 is exact in fp32.
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return sign != 0 ? -magnitude : magnitude;
}

uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000U);
  const uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<uint16_t>(sign | 0x7e00U | ((magnitude >> 13) & 0x3ffU));
  if (magnitude >= 0x47800000U) return static_cast<uint16_t>(sign | 0x7c00U);  // 2^16 and above
  if (magnitude < 0x38800000U) {  // below 2^-14: adding 0.5 aligns the subnormal mantissa and rounds it
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0.5F)));
  }
  const uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U) - (112U << 23);
  return static_cast<uint16_t>(sign | (rounded >> 13));
}

}  // namespace plimsoll
