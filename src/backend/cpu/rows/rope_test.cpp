#include "backend/cpu/rows/rope.h"

#include <gtest/gtest.h>

#include "support/golden.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

// The golden files are (B, heads, T, D); ours is (B·T, heads, D).
std::vector<float> swap_heads(const std::vector<float>& in, size_t batch, size_t outer, size_t inner, size_t dim) {
  std::vector<float> out(in.size());
  for (size_t b = 0; b < batch; ++b)
    for (size_t i = 0; i < outer; ++i)
      for (size_t j = 0; j < inner; ++j)
        for (size_t d = 0; d < dim; ++d)
          out[((b * inner + j) * outer + i) * dim + d] = in[((b * outer + i) * inner + j) * dim + d];
  return out;
}

TEST(Rope, AsTorch) {
  ThreadPool pool(2);
  for (const char* name : {"rope_half", "rope_interleaved", "rope_partial"}) {
    SCOPED_TRACE(name);
    const Golden g("ops/" + std::string(name) + ".safetensors");
    RopeSpec spec{.rows = 18, .heads = 3, .head_dim = 16, .rotary_dim = std::string(name) == "rope_partial" ? 4 : 16};
    spec.interleaved = std::string(name) == "rope_interleaved";
    const int64_t half = spec.rotary_dim / 2;
    auto positions = g.i32("const.positions");
    positions.insert(positions.end(), positions.begin(), positions.end());
    std::vector<float> inv_freq(static_cast<size_t>(half));
    for (int64_t i = 0; i < half; ++i)
      inv_freq[static_cast<size_t>(i)] =
          1.0F / std::pow(10000.0F, static_cast<float>(2 * i) / static_cast<float>(spec.rotary_dim));
    std::vector<float> cos(static_cast<size_t>(18 * half)), sin(cos);
    rope_table(pool, 18, half, positions.data(), inv_freq.data(), 1, cos.data(), sin.data());

    const auto x = swap_heads(g.f32("in.x"), 2, 3, 9, 16);
    std::vector<float> out(x.size());
    rope(pool, spec, x.data(), cos.data(), sin.data(), 1, out.data());
    expect_close(out, swap_heads(g.f32("out.out"), 2, 3, 9, 16), 5e-6);
    auto in_place = x;
    rope(pool, spec, in_place.data(), cos.data(), sin.data(), 1, in_place.data());
    EXPECT_EQ(in_place, out);

    auto grad = swap_heads(g.f32("upstream.out"), 2, 3, 9, 16);
    rope(pool, spec, grad.data(), cos.data(), sin.data(), -1, grad.data());
    expect_close(grad, swap_heads(g.f32("grad.x"), 2, 3, 9, 16), 5e-6);
  }
}

TEST(Rope, NarrowRotationAgreesWithWide) {
  const int64_t rows = 70, heads = 3, dim = 22, rotary = 14;  // odd halves: tails
  for (const bool interleaved : {false, true}) {
    RopeSpec spec{.rows = rows, .heads = heads, .head_dim = dim, .rotary_dim = rotary, .interleaved = interleaved};
    const auto cos = random_values(static_cast<size_t>(rows * rotary / 2), 1), sin = random_values(cos.size(), 2);
    const Typed x(DType::bf16, random_values(static_cast<size_t>(rows * heads * dim), 3));
    std::vector<float> wide(x.narrow.size());
    ThreadPool one(1), three(3);
    rope(one, spec, x.values().data(), cos.data(), sin.data(), 1, wide.data());
    spec.dtype = DType::bf16;
    std::vector<uint16_t> narrow(wide.size()), again(wide.size());
    rope(one, spec, x.data(), cos.data(), sin.data(), 1, narrow.data());
    rope(three, spec, x.data(), cos.data(), sin.data(), 1, again.data());
    EXPECT_EQ(narrow, to_bf16(wide));
    EXPECT_EQ(narrow, again);
  }
}

TEST(Rope, ScalingMultipliesTheTable) {
  ThreadPool pool(1);
  const int32_t position = 3;
  const float inv_freq = 0.5F;
  float cos = 0, sin = 0;
  rope_table(pool, 1, 1, &position, &inv_freq, 1.25F, &cos, &sin);
  EXPECT_FLOAT_EQ(cos, 1.25F * std::cos(1.5F));
  EXPECT_FLOAT_EQ(sin, 1.25F * std::sin(1.5F));
}

}  // namespace
}  // namespace plimsoll::cpu
