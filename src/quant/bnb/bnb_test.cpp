// The formats of bitsandbytes: 4 bit, 8 bit by block, LLM.int8() and the optimizer's state.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "quant/bnb/adamw8bit.h"
#include "quant/bnb/bnb4.h"
#include "quant/bnb/int8_blockwise.h"
#include "quant/bnb/llm_int8.h"
#include "quant/half.h"
#include "support/golden.h"

namespace plimsoll {
namespace {

nlohmann::json golden_json(const std::string& path) {
  std::ifstream file(std::string(PLIMSOLL_TEST_DATA "/golden/") + path);
  return nlohmann::json::parse(file);
}

std::vector<float> widened(const Golden& golden, const std::string& name, const std::string& dtype) {
  if (dtype == "float32") return golden.f32(name);
  const auto raw = golden.bytes(name);
  std::vector<float> out;
  for (size_t i = 0; i < raw.size(); i += 2) {
    const auto bits = static_cast<uint16_t>(raw[i] | (raw[i + 1] << 8));
    out.push_back(dtype == "float16" ? inline_half::from_f16(bits) : inline_half::from_bf16(bits));
  }
  return out;
}

float narrowed(float x, const std::string& dtype) {
  if (dtype == "float16") return inline_half::from_f16(inline_half::to_f16(x));
  return dtype == "bfloat16" ? inline_half::from_bf16(inline_half::to_bf16(x)) : x;
}

// Neighbouring floats at most.
void expect_within_an_ulp(const std::vector<float>& got, const std::vector<float>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_TRUE(got[i] == expected[i] || std::nextafter(got[i], expected[i]) == expected[i])
        << i << ": " << got[i] << " " << expected[i];
}

size_t differing(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  size_t count = a.size() == b.size() ? 0 : a.size();
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) count += a[i] != b[i] ? 1 : 0;
  return count;
}

TEST(Bnb4, EveryGoldenCase) {
  int cases = 0;
  const nlohmann::json all = golden_json("quant/bnb4/cases.json");
  for (const auto& [name, entry] : all.items()) {
    SCOPED_TRACE(name);
    const Golden golden("quant/bnb4/" + name + ".safetensors");
    const std::string dtype = entry.at("dtype");
    const Bnb4Type type = entry.at("quant_type") == "nf4" ? Bnb4Type::nf4 : Bnb4Type::fp4;
    const auto block = entry.at("blocksize").get<int64_t>();
    const auto input = widened(golden, "input", dtype);
    const auto n = static_cast<int64_t>(input.size());
    const auto blocks = static_cast<size_t>(ceil_div(n, block));
    std::vector<uint8_t> packed(static_cast<size_t>(bnb4_packed_bytes(n)));
    std::vector<float> absmax(blocks);
    quantize_bnb4(type, input.data(), n, block, packed.data(), absmax.data());
    EXPECT_EQ(packed, golden.bytes("packed"));
    const auto& values = bnb4_values(type);
    EXPECT_EQ(std::vector<float>(values.begin(), values.end()), golden.f32("code"));
    if (entry.at("nested_blocksize").is_null()) {
      EXPECT_EQ(absmax, golden.f32("absmax"));
    } else {
      std::vector<uint8_t> codes(blocks);
      std::vector<float> nested(static_cast<size_t>(ceil_div(static_cast<int64_t>(blocks), kNestedBlock)));
      const float offset = quantize_absmax(absmax.data(), static_cast<int64_t>(blocks), codes.data(), nested.data());
      EXPECT_EQ(codes, golden.bytes("absmax"));
      expect_within_an_ulp({offset}, golden.f32("nested_offset"));
      std::vector<float> restored(blocks);
      restore_absmax(golden.bytes("absmax").data(), golden.f32("nested_absmax").data(), golden.f32("nested_offset")[0],
                     0, static_cast<int64_t>(blocks), restored.data());
      expect_within_an_ulp(restored, golden.f32("absmax_restored"));
      absmax = golden.f32("absmax_restored");
    }
    std::vector<float> back(input.size());
    // In pieces that cross blocks and bytes.
    for (int64_t first = 0; first < n; first += 37)
      dequantize_bnb4(type, packed.data(), absmax.data(), block, first, std::min<int64_t>(37, n - first),
                      back.data() + first);
    for (float& x : back) x = narrowed(x, dtype);
    EXPECT_EQ(back, widened(golden, "dequantized", dtype));
    ++cases;
  }
  EXPECT_EQ(cases, 19);
}

TEST(Int8Blockwise, TablesAreTheLibrarys) {
  const Golden golden("quant/int8_blockwise/code_tables.safetensors");
  const auto as_vector = [](const CodeTable& table) { return std::vector(table.values.begin(), table.values.end()); };
  EXPECT_EQ(as_vector(dynamic_table(true)), golden.f32("dynamic"));
  EXPECT_EQ(as_vector(dynamic_table(false)), golden.f32("dynamic_unsigned"));
}

TEST(Int8Blockwise, EveryGoldenCase) {
  for (const bool is_signed : {true, false}) {
    for (const int64_t block : {64, 256, 4096}) {
      const Golden golden("quant/int8_blockwise/dynamic_" + std::string(is_signed ? "signed" : "unsigned") + "_b" +
                          std::to_string(block) + ".safetensors");
      const auto input = golden.f32("input");
      const auto n = static_cast<int64_t>(input.size());
      std::vector<uint8_t> codes(input.size());
      std::vector<float> absmax(static_cast<size_t>(ceil_div(n, block))), back(input.size());
      quantize_blockwise(dynamic_table(is_signed), input.data(), n, block, codes.data(), absmax.data());
      EXPECT_EQ(codes, golden.bytes("q"));
      EXPECT_EQ(absmax, golden.f32("absmax"));
      dequantize_blockwise(dynamic_table(is_signed), codes.data(), absmax.data(), n, block, back.data());
      EXPECT_EQ(back, golden.f32("dequantized"));
    }
  }
  EXPECT_EQ(dynamic_table(true).values[nearest_code(dynamic_table(true), 0.0F)], 0.0F);
  EXPECT_EQ(nearest_code(dynamic_table(true), 1.0F), 255);
  EXPECT_EQ(nearest_code(dynamic_table(true), dynamic_table(true).midpoints[100]), 100) << "a tie takes the lower";
  nearest_code(dynamic_table(true), NAN);
  for (const bool is_signed : {true, false}) {
    const CodeTable& table = dynamic_table(is_signed);
    for (uint32_t bits = 0; bits < 0xfff00000U; bits += 99991) {
      const auto x = std::bit_cast<float>(bits);
      if (std::isnan(x)) continue;
      size_t below = 0;
      while (below < 255 && table.midpoints[below] < x) ++below;
      ASSERT_EQ(nearest_code(table, x), below) << x;
    }
    EXPECT_EQ(nearest_code(table, INFINITY), 255);
    EXPECT_EQ(nearest_code(table, -INFINITY), 0);
  }
}

TEST(LlmInt8, RowsAndOutliers) {
  const Golden golden("quant/llm_int8/rowwise.safetensors");
  const auto a = golden.f32("A"), w = golden.f32("W");
  const int64_t rows = 9, cols = 48, outputs = 20;
  const auto run = [&](const std::vector<float>& in, int64_t count, float threshold, const std::string& codes_name,
                       const std::string& absmax_name) {
    std::vector<int8_t> codes(in.size());
    std::vector<float> absmax(static_cast<size_t>(count));
    if (threshold > 0) {
      const auto outliers = outlier_columns(in.data(), count, cols, threshold);
      EXPECT_EQ(outliers, golden.i64("outlier_columns"));
      quantize_rows_int8(in.data(), count, cols, threshold, outliers, codes.data(), absmax.data());
    } else {
      quantize_rows_int8(in.data(), count, cols, codes.data(), absmax.data());
    }
    EXPECT_EQ(std::vector<uint8_t>(codes.begin(), codes.end()), golden.bytes(codes_name));
    EXPECT_EQ(absmax, golden.f32(absmax_name));
    return std::pair(codes, absmax);
  };
  const auto [a_codes, a_absmax] = run(a, rows, 0, "A_q", "A_absmax");
  run(a, rows, 6.0F, "A_q_threshold6", "A_absmax_threshold6");
  const auto [w_codes, w_absmax] = run(w, outputs, 0, "W_q", "W_SCB");
  const auto sums = golden.i32("accumulated_int32");
  const auto y = golden.f32("y_from_int32_fp32"), exact = golden.f32("y_exact_fp32");
  std::vector<float> restored(w.size());
  dequantize_rows_int8(w_codes.data(), w_absmax.data(), outputs, cols, restored.data());
  for (size_t i = 0; i < w.size(); ++i) ASSERT_NEAR(restored[i], w[i], w_absmax[i / cols] / 127 * 0.501);
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < outputs; ++j) {
      int32_t sum = 0;
      for (size_t k = 0; k < cols; ++k) sum += a_codes[i * cols + k] * w_codes[j * cols + k];
      ASSERT_EQ(sum, sums[i * outputs + j]);
      const float product = int8_product(sum, a_absmax[i], w_absmax[j]);
      ASSERT_NEAR(product, y[i * outputs + j], std::fabs(product) * 2.5e-7F);
      ASSERT_NEAR(product, exact[i * outputs + j], 0.2F);
    }
  }
  const std::vector<float> zeros(cols, 0.0F);
  std::vector<int8_t> codes(cols, 1);
  float absmax = 1;
  quantize_rows_int8(zeros.data(), 1, cols, codes.data(), &absmax);
  EXPECT_EQ(codes, std::vector<int8_t>(cols, 0));
}

TEST(LlmInt8, StateDictOfALinear) {
  const Golden golden("quant/llm_int8/linear_state_dict.safetensors");
  auto w = golden.f32("weight_original");
  for (float& x : w) x = narrowed(x, "float16");  // what the library keeps before it quantizes
  std::vector<int8_t> codes(w.size());
  std::vector<float> absmax(12);
  quantize_rows_int8(w.data(), 12, 20, codes.data(), absmax.data());
  EXPECT_EQ(std::vector<uint8_t>(codes.begin(), codes.end()), golden.bytes("layer.weight"));
  EXPECT_EQ(absmax, golden.f32("layer.SCB"));
}

TEST(AdamW8bit, TenGoldenSteps) {
  const Golden golden("quant/adamw8bit/steps.safetensors");
  const auto hyper = golden_json("quant/adamw8bit/method.json").at("hyper");
  auto p = golden.f32("initial");
  const auto n = static_cast<int64_t>(p.size());
  std::vector<uint8_t> first(p.size()), second(p.size());
  std::vector<float> first_absmax(static_cast<size_t>(ceil_div(n, kAdamW8bitBlock))), second_absmax = first_absmax;
  const AdamW8bitState state{first.data(), second.data(), first_absmax.data(), second_absmax.data()};
  for (int64_t t = 0; t < 10; ++t) {
    const AdamW8bitStep step{hyper.at("lr"),  hyper.at("betas")[0],     hyper.at("betas")[1],
                             hyper.at("eps"), hyper.at("weight_decay"), t + 1};
    const auto g = golden.f32("grad." + std::to_string(t));
    adamw8bit_update(step, p.data(), g.data(), n, state);
    const auto expected = golden.f32("param." + std::to_string(t));
    for (size_t i = 0; i < p.size(); ++i) ASSERT_NEAR(p[i], expected[i], 1e-7) << t << " " << i;
    EXPECT_LE(differing(first, golden.bytes("state1." + std::to_string(t))), p.size() / 1000) << t;
    EXPECT_LE(differing(second, golden.bytes("state2." + std::to_string(t))), p.size() / 1000) << t;
    const auto absmax = golden.f32("absmax1." + std::to_string(t));
    for (size_t i = 0; i < absmax.size(); ++i) ASSERT_NEAR(first_absmax[i], absmax[i], 1e-6F * absmax[i]);
  }
}

}  // namespace
}  // namespace plimsoll
