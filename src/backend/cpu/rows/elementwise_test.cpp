#include "backend/cpu/rows/elementwise.h"

#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

constexpr int64_t kN = 70001;

TEST(Elementwise, AddScaleAxpy) {
  ThreadPool pool(3);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Typed a(dtype, random_values(kN, 1)), b(dtype, random_values(kN, 2));
    const auto x = a.values(), y = b.values();
    std::vector<float> sum(kN), product(kN);
    for (size_t i = 0; i < kN; ++i) {
      sum[i] = x[i] + y[i];
      product[i] = 0.3F * x[i];
    }
    Typed c = a;
    add(pool, dtype, kN, c.data(), b.data(), c.data());
    EXPECT_TRUE(c == Typed(dtype, sum));
    c = a;
    scale(pool, dtype, kN, c.data(), 0.3F, c.data());
    EXPECT_TRUE(c == Typed(dtype, product));
  }
}

TEST(Elementwise, CastsRoundToNearestEven) {
  ThreadPool pool(2);
  std::vector<float> values = random_values(1000, 1, 100);
  // Ties in both directions, overflow, subnormals, infinities, NaN.
  for (const uint32_t bits : {0x3f808000U, 0x3f818000U, 0x7f7fffffU, 0x00000001U, 0x7f800000U, 0xff800000U, 0x7fc00000U,
                              0x7f800001U, 0xffffffffU})
    values.push_back(std::bit_cast<float>(bits));
  const auto n = static_cast<int64_t>(values.size());
  for (const DType half : {DType::bf16, DType::f16}) {
    std::vector<uint16_t> narrow(values.size());
    std::vector<float> back(values.size());
    cast(pool, n, DType::f32, values.data(), half, narrow.data());
    cast(pool, n, half, narrow.data(), DType::f32, back.data());
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t bits = half == DType::bf16 ? f32_to_bf16(values[i]) : f32_to_f16(values[i]);
      if (std::isnan(values[i])) EXPECT_TRUE(std::isnan(back[i])) << i;
      else EXPECT_EQ(narrow[i], bits) << values[i];
    }
  }
  std::vector<uint16_t> bf16 = to_bf16(random_values(100, 2)), f16(100), again(100);
  cast(pool, 100, DType::bf16, bf16.data(), DType::f16, f16.data());
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(f16[i], f32_to_f16(bf16_to_f32(bf16[i])));
  cast(pool, 100, DType::bf16, bf16.data(), DType::bf16, again.data());
  EXPECT_EQ(again, bf16);
}

TEST(Elementwise, FillZero) {
  ThreadPool pool(3);
  std::vector<uint8_t> bytes(100003, 7);
  fill_zero(pool, 100002, bytes.data());
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), 0), 100002);
  EXPECT_EQ(bytes.back(), 7);
}

TEST(Elementwise, BiasGradSumsColumns) {
  for (const int64_t rows : {int64_t{1}, int64_t{33}, int64_t{4000}})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const int64_t columns = 301;
      const Typed dy(dtype, random_values(static_cast<size_t>(rows * columns), 1));
      std::vector<double> want(301, 1);
      const auto values = dy.values();
      for (size_t i = 0; i < values.size(); ++i) want[i % 301] += double{values[i]};
      std::vector<float> workspace(static_cast<size_t>(bias_grad_workspace_bytes(rows, columns)) / 4), one(301, 1),
          three(301, 1);
      ThreadPool pool1(1), pool3(3);
      bias_grad(pool1, dtype, rows, columns, dy.data(), one.data(), workspace.data());
      bias_grad(pool3, dtype, rows, columns, dy.data(), three.data(), workspace.data());
      expect_close(one, want, 5e-6);
      EXPECT_EQ(one, three);
    }
}

}  // namespace
}  // namespace plimsoll::cpu
