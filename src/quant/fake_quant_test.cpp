#include "quant/fake_quant.h"

#include <gtest/gtest.h>

#include <vector>

#include "support/golden.h"

namespace plimsoll {
namespace {

void check(const std::string& file, int bits, int64_t group) {
  const Golden golden("quant/fake_quant/" + file);
  for (const std::string name : {"w1", "w2"}) {
    const auto weights = golden.f32(name), want = golden.f32(name + "_fake"), scales = golden.f32(name + "_scale");
    const int64_t columns = golden.shape(name).at(1), shared = group > 0 ? group : columns;
    std::vector<float> got(weights.size());
    for (size_t i = 0; i < scales.size(); ++i) {
      const float* in = weights.data() + static_cast<int64_t>(i) * shared;
      const float scale = fake_quant_scale(in, shared, 1, bits);
      EXPECT_EQ(scale, scales[i]) << name << " " << i;
      fake_quantize(in, shared, 1, bits, scale, got.data() + static_cast<int64_t>(i) * shared);
    }
    // The golden weights are x + (q - x), which rounds once more.
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], want[i], 1.2e-7 * std::max(1e-3F, std::fabs(weights[i]))) << name << " " << i;
    // What was quantized once stays what it is.
    std::vector<float> again(got.size());
    for (size_t i = 0; i < scales.size(); ++i) {
      const float* in = got.data() + static_cast<int64_t>(i) * shared;
      fake_quantize(in, shared, 1, bits, fake_quant_scale(in, shared, 1, bits),
                    again.data() + static_cast<int64_t>(i) * shared);
    }
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(again[i], got[i], 1.2e-7 * std::fabs(got[i]));
  }
}

TEST(FakeQuant, GoldenWeights) {
  check("int8_per_channel.safetensors", 8, 0);
  check("int4_group32.safetensors", 4, 32);
}

TEST(FakeQuant, ZerosAndStrides) {
  const std::vector<float> in = {0, 9, 0, -1, 0, 3};  // two interleaved rows
  std::vector<float> out(3, 7.0F);
  EXPECT_EQ(fake_quant_scale(in.data(), 3, 2, 8), 0.0F);
  fake_quantize(in.data(), 3, 2, 8, 0.0F, out.data());
  EXPECT_EQ(out, (std::vector<float>{0, 0, 0}));
  const float scale = fake_quant_scale(in.data() + 1, 3, 2, 4);
  EXPECT_EQ(scale, 9.0F / 7);
  fake_quantize(in.data() + 1, 3, 2, 4, scale, out.data());
  EXPECT_EQ(out, (std::vector<float>{7 * scale, -scale, 2 * scale}));
}

}  // namespace
}  // namespace plimsoll
