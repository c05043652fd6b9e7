#include "formats/number_conversion.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "quant/half.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

std::span<const std::byte> bytes_of(const std::vector<uint8_t>& values) { return std::as_bytes(std::span(values)); }

class GoldenBlocks : public testing::TestWithParam<const char*> {};

TEST_P(GoldenBlocks, DequantizeBitForBit) {
  const TensorIndex index = open_safetensors(golden_path("gguf/blocks/" + std::string(GetParam()) + ".safetensors"));
  const DType dtype = *dtype_from_name(GetParam());
  const auto stored = read_tensor_as<uint8_t>(index, "random_blocks");
  const auto expected = read_tensor_as<float>(index, "random_blocks_dequantized");
  std::vector<float> values(expected.size());
  decode_values(dtype, bytes_of(stored).data(), values);
  EXPECT_EQ(as_string(values), as_string(expected));
}

INSTANTIATE_TEST_SUITE_P(Types, GoldenBlocks, testing::Values("bf16", "q4_1", "q6_k"));

TEST(NumberConversion, SixteenBitPatternsAgreeWithTheScalarConversions) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float from_f16 = inline_half::from_f16(half), from_bf16 = inline_half::from_bf16(half);
    ASSERT_EQ(std::bit_cast<uint32_t>(from_f16), std::bit_cast<uint32_t>(f16_to_f32(half))) << bits;
    ASSERT_EQ(std::bit_cast<uint32_t>(from_bf16), std::bit_cast<uint32_t>(bf16_to_f32(half))) << bits;
    ASSERT_TRUE(std::isnan(from_f16) || inline_half::to_f16(from_f16) == half);
    ASSERT_TRUE(std::isnan(from_bf16) || inline_half::to_bf16(from_bf16) == half);
  }
}

TEST(NumberConversion, RoundingAgreesWithTheScalarConversions) {
  // Every upper half, with lower halves around the ties.
  for (uint32_t upper = 0; upper < 65536; ++upper) {
    for (const uint32_t lower :
         {0x0000U, 0x0001U, 0x0fffU, 0x1000U, 0x1001U, 0x7fffU, 0x8000U, 0x8001U, 0xf000U, 0xffffU}) {
      const auto value = std::bit_cast<float>((upper << 16) | lower);
      ASSERT_EQ(inline_half::to_f16(value), f32_to_f16(value)) << upper << " " << lower;
      ASSERT_EQ(inline_half::to_bf16(value), f32_to_bf16(value)) << upper << " " << lower;
    }
  }
}

}  // namespace
}  // namespace plimsoll
