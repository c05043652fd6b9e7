#include "quant/packed_matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "quant/bnb/bnb4.h"
#include "quant/fp8.h"
#include "quant/half.h"

namespace plimsoll {
namespace {

std::vector<float> random_values(size_t count) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.05F);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

struct Packed {
  std::vector<std::byte> bytes;
  PackedMatrix matrix;
  Packed(DType type, int64_t rows, int64_t cols, const std::vector<float>& values)
      : bytes(static_cast<size_t>(packed_bytes(type, rows, cols))), matrix{type, rows, cols, bytes.data()} {
    std::vector<std::byte> scratch(static_cast<size_t>(packer_scratch_bytes(type, rows, cols)));
    MatrixPacker packer(type, rows, cols, bytes.data(), scratch);
    for (int64_t row = 0; row < rows; ++row) packer.add_row({values.data() + row * cols, static_cast<size_t>(cols)});
    packer.finish();
  }
};

class PackedMatrixTest : public testing::TestWithParam<DType> {};

// Any tile is a part of the whole, to the bit, and the whole is near what was packed.
TEST_P(PackedMatrixTest, TilesArePartsOfTheWhole) {
  const bool wide = dtype_info(GetParam()).block_elements == 256;
  const int64_t rows = 37, cols = wide ? 512 : GetParam() == DType::fp4 ? 100 : 192;
  const auto values = random_values(static_cast<size_t>(rows * cols));
  const Packed packed(GetParam(), rows, cols, values);
  std::vector<float> whole(values.size());
  unpack_tile(packed.matrix, 0, rows, 0, cols, whole.data(), cols);
  double error = 0, power = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    error += std::pow(static_cast<double>(values[i] - whole[i]), 2);
    power += std::pow(static_cast<double>(values[i]), 2);
  }
  EXPECT_LT(std::sqrt(error / power), 0.25);
  EXPECT_GT(error, 0);
  for (const auto& [row, col, height, width] :
       {std::array<int64_t, 4>{0, 0, 1, 1}, {3, 17, 5, 61}, {36, 32, 1, 64}, {10, 1, 20, cols - 1}}) {
    const int64_t stride = width + 3;
    std::vector<float> tile(static_cast<size_t>(height * stride), -1);
    std::vector<uint16_t> narrow(tile.size(), 1);
    unpack_tile(packed.matrix, row, height, col, width, tile.data(), stride);
    unpack_tile(packed.matrix, row, height, col, width, narrow.data(), stride);
    for (int64_t i = 0; i < height; ++i)
      for (int64_t j = 0; j < stride; ++j) {
        const auto at = static_cast<size_t>(i * stride + j);
        if (j >= width) {
          EXPECT_EQ(tile[at], -1);
          continue;
        }
        const float expected = whole[static_cast<size_t>((row + i) * cols + col + j)];
        ASSERT_EQ(tile[at], expected) << row + i << ' ' << col + j;
        ASSERT_EQ(narrow[at], inline_half::to_bf16(expected));
      }
  }
}

INSTANTIATE_TEST_SUITE_P(All, PackedMatrixTest,
                         testing::Values(DType::nf4, DType::fp4, DType::int8, DType::fp8, DType::q4_0, DType::q8_0,
                                         DType::q4_k, DType::q6_k),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

// Rows that end within a block of 64: the same bytes as the matrix quantized in one go.
TEST(PackedMatrix, BlocksGoOverTheEndsOfRows) {
  const int64_t rows = 7, cols = 45;
  const auto values = random_values(static_cast<size_t>(rows * cols));
  const Packed packed(DType::nf4, rows, cols, values);
  std::vector<uint8_t> codes(static_cast<size_t>(bnb4_packed_bytes(rows * cols)));
  std::vector<float> absmax(5);
  quantize_bnb4(Bnb4Type::nf4, values.data(), rows * cols, 64, codes.data(), absmax.data());
  for (size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(static_cast<uint8_t>(packed.bytes[i]), codes[i]) << i;
}

TEST(PackedMatrix, EveryByteOfE4m3MeansItsValue) {
  std::vector<float> values(256, 1.0F);
  Packed packed(DType::fp8, 1, 256, values);
  for (int i = 0; i < 256; ++i) packed.bytes[static_cast<size_t>(i)] = static_cast<std::byte>(i);
  const float scale = 1.0F / 448.0F;
  std::vector<float> out(256);
  unpack_tile(packed.matrix, 0, 1, 0, 256, out.data(), 256);
  for (int i = 0; i < 256; ++i) {
    const float expected = from_e4m3(static_cast<uint8_t>(i)) * scale;
    if (std::isnan(expected)) EXPECT_TRUE(std::isnan(out[static_cast<size_t>(i)])) << i;
    else EXPECT_EQ(out[static_cast<size_t>(i)], expected) << i;
  }
}

TEST(PackedMatrix, BitsOfAWeight) {
  const auto bits = [](DType dtype) {
    return static_cast<double>(packed_bytes(dtype, 4096, 4096)) / (4096 * 4096 / 8);
  };
  EXPECT_NEAR(bits(DType::nf4), 4.127, 0.001);
  EXPECT_EQ(bits(DType::q4_0), 4.5);
  EXPECT_NEAR(bits(DType::int8), 8.008, 0.001);
  EXPECT_FALSE(can_pack(DType::q4_k, {4, 192}));
  EXPECT_TRUE(can_pack(DType::nf4, {4, 192}));
}

}  // namespace
}  // namespace plimsoll
