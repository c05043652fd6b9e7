#include "quant/fp8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/counter_random.h"
#include "support/golden.h"

namespace plimsoll {
namespace {

template <typename T>
std::vector<T> typed(const Golden& golden, const std::string& name) {
  const auto raw = golden.bytes(name);
  std::vector<T> out(raw.size() / sizeof(T));
  std::memcpy(out.data(), raw.data(), raw.size());
  return out;
}

TEST(Casts, AreTorchsBitForBit) {
  const Golden golden("quant/casts/casts.safetensors");
  const auto input = typed<uint32_t>(golden, "input_bits");
  const auto fp16 = typed<uint16_t>(golden, "fp16_bits"), bf16 = typed<uint16_t>(golden, "bf16_bits");
  const auto e4m3 = golden.bytes("e4m3fn_bits"), e5m2 = golden.bytes("e5m2_bits");
  const auto e4m3_saturated = golden.bytes("e4m3fn_saturated_bits"),
             e5m2_saturated = golden.bytes("e5m2_saturated_bits");
  ASSERT_EQ(input.size(), 3253U);
  const auto same = [](auto got, auto expected, auto decode) {
    return got == expected || (std::isnan(decode(got)) && std::isnan(decode(expected)));
  };
  for (size_t i = 0; i < input.size(); ++i) {
    const auto x = std::bit_cast<float>(input[i]);
    ASSERT_TRUE(same(inline_half::to_f16(x), fp16[i], inline_half::from_f16)) << x;
    ASSERT_TRUE(same(inline_half::to_bf16(x), bf16[i], inline_half::from_bf16)) << x;
    ASSERT_TRUE(same(f32_to_fp8(DType::f8_e4m3, x), e4m3[i], from_e4m3)) << x;
    ASSERT_TRUE(same(f32_to_fp8(DType::f8_e5m2, x), e5m2[i], from_e5m2)) << x;
    ASSERT_TRUE(same(f32_to_fp8_saturated(DType::f8_e4m3, x), e4m3_saturated[i], from_e4m3)) << x;
    ASSERT_TRUE(same(f32_to_fp8_saturated(DType::f8_e5m2, x), e5m2_saturated[i], from_e5m2)) << x;
  }
}

TEST(Casts, DecodeIsTorchs) {
  const Golden golden("quant/casts/casts.safetensors");
  for (const DType type : {DType::f8_e4m3, DType::f8_e5m2}) {
    const auto expected = golden.f32(type == DType::f8_e4m3 ? "e4m3fn_decode" : "e5m2_decode");
    for (size_t i = 0; i < 256; ++i) {
      const float got = fp8_to_f32(type, static_cast<uint8_t>(i));
      if (std::isnan(expected[i])) ASSERT_TRUE(std::isnan(got)) << i;
      else ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(expected[i])) << i;
    }
  }
}

TEST(Casts, StochasticRoundingIsRightOnAverage) {
  const float low = 1.0F, high = 1.0F + 0x1p-7F, x = low + 0.3F * (high - low);
  int up = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    const float got = inline_half::from_bf16(inline_half::to_bf16_stochastic(x, static_cast<uint32_t>(mix_bits(i))));
    ASSERT_TRUE(got == low || got == high);
    up += got == high ? 1 : 0;
  }
  EXPECT_NEAR(up / 20000.0, 0.3, 0.02);
  for (const float exact : {0.0F, -2.5F, INFINITY, -INFINITY})
    EXPECT_EQ(inline_half::from_bf16(inline_half::to_bf16_stochastic(exact, 0xffffffffU)), exact);
  EXPECT_TRUE(std::isnan(inline_half::from_bf16(inline_half::to_bf16_stochastic(NAN, 0xffffffffU))));
}

class Fp8Tiles : public testing::TestWithParam<DType> {};

TEST_P(Fp8Tiles, AreTheGoldenBits) {
  const Golden golden(GetParam() == DType::f8_e4m3 ? "quant/fp8_scaled/e4m3fn.safetensors"
                                                   : "quant/fp8_scaled/e5m2.safetensors");
  const auto input = golden.f32("input");
  const auto run = [&](const Fp8Tiling& tiling, const std::string& bits_name, const std::string& scales_name) {
    std::vector<float> scales(static_cast<size_t>(tiling.row_tiles() * tiling.col_tiles()));
    std::vector<uint8_t> bits(static_cast<size_t>(tiling.rows * tiling.cols));
    std::vector<float> back(bits.size());
    for (int64_t i = 0; i < tiling.row_tiles(); ++i) {
      quantize_fp8_tiles(GetParam(), tiling, i, input.data(), scales.data(), bits.data());
      dequantize_fp8_tiles(GetParam(), tiling, i, bits.data(), scales.data(), back.data());
    }
    EXPECT_EQ(bits, golden.bytes(bits_name));
    EXPECT_EQ(scales, golden.f32(scales_name));
    return back;
  };
  const int64_t rows = golden.shape("input").at(0), cols = golden.shape("input").at(1);
  run({rows, cols, rows, cols}, "tensor_bits", "tensor_scale");
  EXPECT_EQ(run({rows, cols, 128, 128}, "block128_bits", "block128_scale_inv"), golden.f32("block128_dequantized"));
  run({golden.shape("row128_bits").at(0), cols, 1, 128}, "row128_bits", "row128_scale");
}

INSTANTIATE_TEST_SUITE_P(Types, Fp8Tiles, testing::Values(DType::f8_e4m3, DType::f8_e5m2));

}  // namespace
}  // namespace plimsoll
