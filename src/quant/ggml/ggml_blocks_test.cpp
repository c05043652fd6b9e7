#include "quant/ggml/ggml_blocks.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/golden.h"

namespace plimsoll {
namespace {

const std::byte* bytes_of(const std::vector<uint8_t>& values) {
  return reinterpret_cast<const std::byte*>(values.data());
}

int64_t blocks_in(DType type, const std::vector<uint8_t>& bytes) {
  return static_cast<int64_t>(bytes.size()) / dtype_info(type).block_bytes;
}

std::vector<float> dequantized(DType type, const std::vector<uint8_t>& bytes) {
  std::vector<float> out(static_cast<size_t>(blocks_in(type, bytes) * dtype_info(type).block_elements));
  dequantize_blocks(type, bytes_of(bytes), blocks_in(type, bytes), out.data());
  return out;
}

std::vector<uint8_t> quantized(DType type, const std::vector<float>& values) {
  std::vector<uint8_t> out(static_cast<size_t>(dtype_bytes(type, static_cast<int64_t>(values.size()))));
  quantize_blocks(type, values.data(), static_cast<int64_t>(values.size()) / dtype_info(type).block_elements,
                  reinterpret_cast<std::byte*>(out.data()));
  return out;
}

// Bit patterns, so that -0 and NaN count.
void expect_same_bits(const std::vector<float>& got, const std::vector<float>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(got[i])) continue;
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(expected[i])) << i << ": " << got[i];
  }
}

std::vector<std::string> block_types() {
  std::vector<std::string> names;
  for (int i = 0; i < kDTypeCount; ++i)
    if (is_block_type(static_cast<DType>(i))) names.emplace_back(dtype_name(static_cast<DType>(i)));
  return names;
}

// The others are read only.
std::vector<std::string> written_block_types() {
  std::vector<std::string> types = block_types();
  std::erase_if(types, [](const std::string& name) { return !can_quantize_blocks(*dtype_from_name(name)); });
  return types;
}

class GgmlBlocks : public testing::TestWithParam<std::string> {};

TEST_P(GgmlBlocks, DequantizeBitForBit) {
  const Golden golden("gguf/blocks/" + GetParam() + ".safetensors");
  const DType type = *dtype_from_name(GetParam());
  int seen = 0;
  for (const auto& [stored, expected] :
       {std::pair{"random_blocks", "random_blocks_dequantized"}, std::pair{"ggml_bytes", "ggml_dequantized"}}) {
    if (!golden.has(stored) || !golden.has(expected)) continue;
    expect_same_bits(dequantized(type, golden.bytes(stored)), golden.f32(expected));
    ++seen;
  }
  EXPECT_EQ(seen > 0, type != DType::q1_0) << "golden data of q1_0 has bytes only";
}

class WrittenGgmlBlocks : public testing::TestWithParam<std::string> {};

TEST_P(WrittenGgmlBlocks, QuantizeBitForBit) {
  const Golden golden("gguf/blocks/" + GetParam() + ".safetensors");
  const DType type = *dtype_from_name(GetParam());
  EXPECT_EQ(quantized(type, golden.f32("input")), golden.bytes("ggml_bytes"));
}

TEST_P(GgmlBlocks, TypesAgreeWithTheFormat) {
  std::ifstream file(PLIMSOLL_TEST_DATA "/golden/gguf/blocks/types.json");
  std::string name = GetParam();
  for (char& c : name) c = static_cast<char>(std::toupper(c));
  const nlohmann::json entry = nlohmann::json::parse(file).at("types").at(name);
  const DTypeInfo& info = dtype_info(*dtype_from_name(GetParam()));
  EXPECT_EQ(info.gguf_type, entry.at("type_id").get<int>());
  EXPECT_EQ(info.block_elements, entry.at("block_size").get<int>());
  EXPECT_EQ(info.block_bytes, entry.at("bytes_per_block").get<int>());
}

TEST_P(GgmlBlocks, SurviveAnything) {
  const DType type = *dtype_from_name(GetParam());
  const auto block_bytes = static_cast<size_t>(dtype_info(type).block_bytes);
  dequantized(type, std::vector<uint8_t>(block_bytes, 0xff));
  if (!can_quantize_blocks(type)) return;
  for (const float odd :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -1e38F, 1e-42F, 0.0F}) {
    std::vector<float> values(256, odd == 0 ? 0.0F : 1.0F);
    values[3] = odd;
    values[40] = -odd;
    quantized(type, values);
    quantized(type, std::vector<float>(256, odd));
  }
  EXPECT_EQ(dequantized(type, quantized(type, std::vector<float>(256, 0.0F)))[7], 0.0F);
}

INSTANTIATE_TEST_SUITE_P(Types, GgmlBlocks, testing::ValuesIn(block_types()),
                         [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(Types, WrittenGgmlBlocks, testing::ValuesIn(written_block_types()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace plimsoll
