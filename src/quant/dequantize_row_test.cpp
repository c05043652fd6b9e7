#include "quant/dequantize_row.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/random.h"
#include "quant/ggml/ggml_blocks.h"
#include "quant/half.h"

namespace plimsoll {
namespace {

// Runs `body` with each instruction set that this machine and this build have.
template <typename Body>
void each_target(Body body) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    SCOPED_TRACE(hwy::TargetName(target));
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
}

template <typename T>
std::string bits_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::vector<uint16_t> to_bf16(const std::vector<float>& values) {
  std::vector<uint16_t> out;
  for (const float x : values) out.push_back(inline_half::to_bf16(x));
  return out;
}

TEST(DequantizeRow, IsWhatThePlainLoopsGive) {
  Random random(7);
  for (int t = 0; t < kDTypeCount; ++t) {
    const auto type = static_cast<DType>(t);
    if (!is_block_type(type)) continue;
    SCOPED_TRACE(dtype_name(type));
    const int64_t n = 3 * 256, bytes = dtype_bytes(type, n);
    std::vector<std::byte> in(static_cast<size_t>(bytes) + 1);
    for (std::byte& b : in) b = static_cast<std::byte>(random.next() & 0x3b);  // no scale is NaN or infinite
    const std::byte* row = in.data() + 1;                                      // not aligned
    std::vector<float> expected(static_cast<size_t>(n));
    dequantize_blocks(type, row, n / dtype_info(type).block_elements, expected.data());
    each_target([&] {
      std::vector<float> got(expected.size());
      std::vector<uint16_t> halves(expected.size());
      dequantize_row(type, row, n, got.data());
      dequantize_row(type, row, n, halves.data());
      EXPECT_EQ(bits_of(got), bits_of(expected));
      EXPECT_EQ(halves, to_bf16(expected));
    });
  }
}

TEST(DequantizeRow, OfBitsandbytesFromAnyElement) {
  Random random(8);
  const int64_t n = 1000;
  std::vector<uint8_t> packed(static_cast<size_t>(n / 2));
  for (uint8_t& b : packed) b = static_cast<uint8_t>(random.next());
  std::vector<float> absmax(static_cast<size_t>(n / 64 + 1));
  for (float& x : absmax) x = static_cast<float>(random.uniform());
  for (const Bnb4Type type : {Bnb4Type::nf4, Bnb4Type::fp4}) {
    each_target([&] {
      for (const auto& [first, count] :
           {std::pair<int64_t, int64_t>{0, n}, {1, 500}, {63, 2}, {130, 333}, {7, 1}, {999, 1}}) {
        std::vector<float> expected(static_cast<size_t>(count)), got(expected.size());
        std::vector<uint16_t> halves(expected.size());
        dequantize_bnb4(type, packed.data(), absmax.data(), 64, first, count, expected.data());
        dequantize_row(type, packed.data(), absmax.data(), 64, first, count, got.data());
        dequantize_row(type, packed.data(), absmax.data(), 64, first, count, halves.data());
        EXPECT_EQ(bits_of(got), bits_of(expected)) << first << " " << count;
        EXPECT_EQ(halves, to_bf16(expected)) << first << " " << count;
      }
    });
  }
}

}  // namespace
}  // namespace plimsoll
