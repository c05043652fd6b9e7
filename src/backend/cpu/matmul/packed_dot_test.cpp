#include "backend/cpu/matmul/packed_dot.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>
#include <cstring>

#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

struct Case {
  DType compute;
  int64_t count, target;
};
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const DType compute : {DType::f32, DType::bf16})
    for (const int64_t target : hwy::SupportedAndGeneratedTargets())
      for (int64_t count = 1; count <= 4; ++count) all.push_back({compute, count, target});
  return all;
}

class PackedDot : public testing::TestWithParam<DType> {};

// Against sums in double over the unpacked rows.
TEST_P(PackedDot, IsTheDotProductWithTheUnpackedRow) {
  const DType type = GetParam();
  for (const int64_t cols : {32, 64, 96, 100, 512, 1280, 3072}) {
    constexpr int64_t kRows = 7, kFirst = 1, kCount = 6, kMaxA = 4, kStride = 9;
    if (!can_pack(type, {kRows, cols})) continue;
    const auto values = random_values(static_cast<size_t>(kRows * cols), 2);
    std::vector<std::byte> bytes(static_cast<size_t>(packed_bytes(type, kRows, cols)));
    std::vector<std::byte> scratch(static_cast<size_t>(packer_scratch_bytes(type, kRows, cols)));
    MatrixPacker packer(type, kRows, cols, bytes.data(), scratch);
    for (int64_t row = 0; row < kRows; ++row)
      packer.add_row(std::span(values).subspan(static_cast<size_t>(row * cols), static_cast<size_t>(cols)));
    packer.finish();
    const PackedMatrix matrix{type, kRows, cols, bytes.data()};
    std::vector<float> unpacked(values.size());
    unpack_tile(matrix, 0, kRows, 0, cols, unpacked.data(), cols);
    for (const auto& [compute, count, target] : cases()) {
      SCOPED_TRACE(testing::Message() << cols << " columns, " << count << " rows of " << dtype_name(compute) << ", "
                                      << hwy::TargetName(target));
      hwy::SetSupportedTargetsForTest(target);
      const int64_t stride = cols + 5;
      const Typed a(compute, random_values(static_cast<size_t>(count * stride), 3));
      const auto x = a.values();
      std::vector<float> tile(static_cast<size_t>(kMaxA * kStride), -1);
      packed_dot({a.data(), compute, count, stride}, matrix, kFirst, kCount, tile.data(), kStride);
      for (int64_t r = 0; r < count; ++r)
        for (int64_t j = 0; j < kStride; ++j) {
          const float got = tile[static_cast<size_t>(r * kStride + j)];
          if (j >= kCount) {
            EXPECT_EQ(got, -1) << "beyond the tile";
            continue;
          }
          double sum = 0, size = 0;
          for (int64_t i = 0; i < cols; ++i) {
            const double term = static_cast<double>(x[static_cast<size_t>(r * stride + i)]) *
                                static_cast<double>(unpacked[static_cast<size_t>((kFirst + j) * cols + i)]);
            sum += term;
            size += std::fabs(term);
          }
          EXPECT_NEAR(static_cast<double>(got), sum, 1e-6 * size + 1e-9) << r << ' ' << j;
        }
    }
    hwy::SetSupportedTargetsForTest(0);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PackedDot,
                         testing::Values(DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0, DType::q2_k,
                                         DType::q3_k, DType::q4_k, DType::q5_k, DType::q6_k, DType::nf4, DType::fp4,
                                         DType::int8, DType::fp8),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

// Every code of e4m3 is its value: subnormal numbers and the one that is none.
TEST(PackedDotFp8, EveryCode) {
  constexpr int64_t kCols = 256;
  std::vector<std::byte> bytes(static_cast<size_t>(packed_bytes(DType::fp8, 1, kCols)));
  for (size_t i = 0; i < 256; ++i) bytes[i] = static_cast<std::byte>(i);
  const float one = 1;
  std::memcpy(bytes.data() + row_scales_at(kCols), &one, sizeof one);
  const PackedMatrix matrix{DType::fp8, 1, kCols, bytes.data()};
  std::vector<float> values(256);
  unpack_tile(matrix, 0, 1, 0, kCols, values.data(), kCols);
  for (size_t i = 0; i < 256; ++i) {
    std::vector<float> x(256);
    x[i] = 1;
    float got = 0;
    bytes[127] = bytes[255] = std::byte{0};  // a NaN times 0 is one, too
    if (i % 128 == 127) bytes[i] = std::byte{127};
    packed_dot({x.data(), DType::f32, 1, kCols}, matrix, 0, 1, &got, 1);
    if (i % 128 == 127) EXPECT_TRUE(std::isnan(got));
    else EXPECT_EQ(got, values[i]) << i;
  }
}

}  // namespace
}  // namespace plimsoll::cpu
