#include "config/quantization_config.h"

#include <gtest/gtest.h>

#include "support/test_files.h"

namespace plimsoll {
namespace {

using nlohmann::json;
using Method = QuantizationConfig::Method;

std::optional<QuantizationConfig> parse(const json& quantization) {
  return parse_quantization_config({{"quantization_config", quantization}}, "config.json");
}

TEST(QuantizationConfig, IsAbsentFromPlainModels) {
  EXPECT_FALSE(parse_quantization_config(json::object(), "config.json").has_value());
  EXPECT_FALSE(parse(nullptr).has_value());
}

TEST(QuantizationConfig, WhatIsWrittenMeansTheSameWhenItIsRead) {
  QuantizationConfig nf4;
  nf4.double_quant = true;
  nf4.compute_dtype = "float32";
  EXPECT_EQ(*parse(write_quantization_config(nf4)), nf4);
  QuantizationConfig int8;
  int8.method = Method::bnb_int8;
  EXPECT_EQ(parse(write_quantization_config(int8))->method, Method::bnb_int8);
  QuantizationConfig blocks;
  blocks.method = Method::block_fp8;
  blocks.block_rows = 64;
  blocks.block_cols = 128;
  EXPECT_EQ(*parse(write_quantization_config(blocks)), blocks);
  QuantizationConfig integers;
  integers.method = Method::packed_integers;
  integers.bits = 3;
  integers.rounded = integers.static_order = true;
  integers.groups = {{64, {"re:.*\\.q_proj$"}}, {128, {"re:.*\\.down_proj$"}}};
  const json written = write_quantization_config(integers);
  EXPECT_EQ(written.at("config_groups").at("group_1").at("weights").at("group_size"), 128);
  QuantizationConfig read = *parse(written);
  EXPECT_EQ(read.bits, 3);
  EXPECT_FALSE(read.symmetric);
  EXPECT_TRUE(read.rounded && read.static_order);
  QuantizationConfig tensor;
  tensor.method = Method::compressed_fp8;
  read = *parse(write_quantization_config(tensor));
  EXPECT_EQ(read.method, Method::compressed_fp8);
  EXPECT_EQ(read.block_rows, 0);
}

TEST(QuantizationConfig, SaysWhatItDoesNotRead) {
  const auto refuses = [](const json& quantization, const std::string& part) {
    expect_caller_error([&] { parse(quantization); }, part);
  };
  refuses(7, "not an object");
  refuses({{"bits", 4}}, "quant_method");
  refuses({{"quant_method", "gptq"}}, "'gptq'");
  refuses({{"quant_method", "bitsandbytes"}}, "load_in_4bit");
  refuses({{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}, {"bnb_4bit_quant_type", "nf5"}}, "nf5");
  refuses({{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}, {"bnb_4bit_quant_storage", "bfloat16"}},
          "bnb_4bit_quant_storage");
  refuses({{"quant_method", "fp8"}}, "weight_block_size");
  refuses({{"quant_method", "fp8"}, {"weight_block_size", {128, -1}}}, "weight_block_size");
  refuses({{"quant_method", "compressed-tensors"}, {"format", "nvfp4-pack-quantized"}}, "nvfp4");
  const auto scheme = [](const json& weights) {
    return json{{"quant_method", "compressed-tensors"},
                {"format", "pack-quantized"},
                {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", weights}}}}}};
  };
  refuses(scheme(nullptr), "without weights");
  refuses(scheme({{"num_bits", 40}, {"strategy", "group"}}), "num_bits");
  refuses(scheme({{"num_bits", 4}, {"strategy", "token"}}), "token");
  refuses(scheme({{"num_bits", 4}, {"strategy", "group"}, {"actorder", "group"}}), "actorder");
  json mixed = scheme({{"num_bits", 4}, {"strategy", "group"}});
  mixed["config_groups"]["group_1"] = {{"weights", {{"num_bits", 8}, {"strategy", "group"}}}};
  refuses(mixed, "differ");
}

}  // namespace
}  // namespace plimsoll
