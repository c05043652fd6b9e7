#include "base/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {
namespace {

TEST(DType, EveryHalfSurvivesTheWayThroughFloat) {
  for (uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float f16 = f16_to_f32(half);
    if (std::isnan(f16)) EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(f16))));
    else EXPECT_EQ(f32_to_f16(f16), half);
    const float bf16 = bf16_to_f32(half);
    if (std::isnan(bf16)) EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(bf16))));
    else EXPECT_EQ(f32_to_bf16(bf16), half);
  }
}

TEST(DType, RoundsToNearestEven) {
  EXPECT_EQ(f32_to_bf16(1.0F + 0x1p-8F), f32_to_bf16(1.0F));                // tie to even, down
  EXPECT_EQ(f32_to_bf16(1.0F + 3 * 0x1p-8F), f32_to_bf16(1.0F + 0x1p-6F));  // tie to even, up
  EXPECT_EQ(f32_to_f16(65520.0F), 0x7c00U);
  EXPECT_EQ(f32_to_f16(65519.0F), 0x7bffU);
  EXPECT_EQ(f32_to_f16(0x1p-25F), 0U);
  EXPECT_EQ(f32_to_f16(0x1.8p-24F), 2U);
}

TEST(DType, BytesOfBlocks) {
  EXPECT_EQ(dtype_bytes(DType::q4_1, 64), 40);
  EXPECT_EQ(dtype_bytes(DType::bf16, 3), 6);
  EXPECT_THROW(dtype_bytes(DType::q4_k, 32), Error);
}

TEST(Bytes, ParsesWhatPeopleWrite) {
  EXPECT_EQ(parse_bytes("900MiB", "--memory"), 900 * kMiB);
  EXPECT_EQ(parse_bytes("1.5GiB", "--memory"), kGiB + kGiB / 2);
  EXPECT_EQ(parse_bytes("24GB", "--memory"), 24'000'000'000);
  EXPECT_EQ(parse_bytes("4096", "--memory"), 4096);
  for (const char* bad : {"", "GiB", "-1GiB", "2 gigs", "1e999", "nan", "12GiBs"})
    EXPECT_THROW(parse_bytes(bad, "--memory"), Error) << bad;
}

}  // namespace
}  // namespace plimsoll
