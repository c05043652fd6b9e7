#include "formats/peft.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "support/test_files.h"

namespace plimsoll {
namespace {

TEST(Peft, ReadsGoldenAdapters) {
  const PeftAdapter lora = open_peft_adapter(golden_path("training/lora/llama_tied/adapter_init"));
  const PeftAdapter rslora = open_peft_adapter(golden_path("training/rslora/llama_tied/adapter_init"));
  ASSERT_EQ(lora.modules.size(), 14U);
  const PeftModule& module = lora.modules.front();
  EXPECT_EQ(module.path, "model.layers.0.mlp.down_proj");
  EXPECT_EQ(module.rank, lora.config.rank);
  EXPECT_EQ(module.a.shape[0], module.rank);
  EXPECT_EQ(module.b.shape[1], module.rank);
  EXPECT_EQ(module.scale, lora.config.alpha / static_cast<double>(lora.config.rank));
  EXPECT_TRUE(rslora.config.rslora);
  EXPECT_EQ(rslora.config.rank, 8);
  EXPECT_EQ(rslora.config.alpha, 16);
  EXPECT_DOUBLE_EQ(rslora.modules.front().scale, 16 / std::sqrt(8.0));
  EXPECT_EQ(load_floats(lora.tensors, module.b.name).size(), static_cast<size_t>(module.b.shape.elements()));
}

TEST(Peft, PatternsFitTheEndOfThePath) {
  PeftConfig config;
  config.rank = 8;
  config.alpha = 16;
  config.rank_pattern = {{"layers.1.self_attn.q_proj", 4}, {"q_proj", 2}, {"^model.norm", 3}, {R"(mlp\.up)", 5}};
  config.alpha_pattern = {{"k_proj", 1.0}};
  EXPECT_EQ(config.rank_of("model.layers.1.self_attn.q_proj"), 4);
  EXPECT_EQ(config.rank_of("model.layers.0.self_attn.q_proj"), 2);
  EXPECT_EQ(config.rank_of("q_proj"), 2);
  EXPECT_EQ(config.rank_of("model.layers.0.self_attn.no_q_proj"), 8);
  EXPECT_EQ(config.rank_of("model.layers.11.self_attn.k_proj"), 8);
  EXPECT_EQ(config.rank_of("model.norm"), 3);
  EXPECT_EQ(config.rank_of("x.model.norm"), 8);
  EXPECT_EQ(config.rank_of("layers.mlp.up"), 5);
  EXPECT_EQ(config.rank_of("layers.mlpxup"), 8);
  EXPECT_EQ(config.scale_of("a.k_proj"), 1.0 / 8);
  config.rslora = true;
  EXPECT_DOUBLE_EQ(config.scale_of("model.layers.1.self_attn.q_proj"), 16 / 2.0);
}

TEST(Peft, RoundTripsThroughAFolder) {
  const TestFolder folder;
  PeftConfig config;
  config.rank = 2;
  config.alpha = 3.5;
  config.rslora = true;
  config.base_model = "org/base";
  config.target_modules = {"v_proj", "q_proj"};
  config.rank_pattern = {{"v_proj", 1}};
  const std::string q = "model.layers.0.self_attn.q_proj", v = "model.layers.0.self_attn.v_proj";
  const std::vector<SafetensorsOutput> outputs = {{peft_tensor_name(q, 'A'), DType::f32, {2, 3}},
                                                  {peft_tensor_name(q, 'B'), DType::f32, {4, 2}},
                                                  {peft_tensor_name(v, 'A'), DType::f32, {1, 3}},
                                                  {peft_tensor_name(v, 'B'), DType::f32, {2, 1}}};
  write_file_atomically(folder / "adapter_config.json", write_peft_config(config));
  SafetensorsWriter writer(folder / "adapter_model.safetensors", outputs);
  std::vector<float> values(6 + 8 + 3 + 2);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  writer.write(std::as_bytes(std::span(values)));
  writer.finish();

  const PeftAdapter read = open_peft_adapter(folder.path());
  ASSERT_EQ(read.modules.size(), 2U);
  EXPECT_EQ(read.config.alpha, 3.5);
  EXPECT_EQ(read.config.base_model, "org/base");
  EXPECT_EQ(read.config.target_modules, (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(read.modules[0].a.shape, (Shape{2, 3}));
  EXPECT_EQ(read.modules[0].b.shape, (Shape{4, 2}));
  EXPECT_EQ(read.modules[1].rank, 1);
  EXPECT_EQ(read.modules[1].scale, 3.5);
  EXPECT_EQ(load_floats(read.tensors, peft_tensor_name(v, 'A')), (std::vector<float>{14, 15, 16}));
}

TEST(Peft, ReadsDora) {
  const PeftAdapter dora = open_peft_adapter(golden_path("training/dora/llama_tied/adapter_init"));
  EXPECT_TRUE(dora.config.dora);
  EXPECT_NE(write_peft_config(dora.config).find("\"use_dora\": true"), std::string::npos);
  ASSERT_EQ(dora.modules.size(), 14U);
  for (const PeftModule& module : dora.modules) {
    ASSERT_TRUE(module.magnitude.has_value()) << module.path;
    EXPECT_EQ(module.magnitude->shape, Shape{module.b.shape[0]}) << module.path;
  }
}

TEST(Peft, NamesWhatIsNotSupported) {
  const auto refuse = [](const char* key, const nlohmann::json& value) {
    nlohmann::json config = nlohmann::json::parse(write_peft_config({}));
    config[key] = value;
    expect_caller_error([&] { parse_peft_config(config.dump(), "adapter_config.json"); }, key);
  };
  refuse("peft_type", "IA3");
  refuse("bias", "all");
  refuse("modules_to_save", {"lm_head"});
  refuse("use_dora", "maybe");
  refuse("lora_bias", true);
  refuse("layer_replication", {{0, 4}});
  refuse("init_lora_weights", "pissa");
  refuse("r", 0);
  refuse("r", "8");
  refuse("lora_alpha", "16");
  refuse("rank_pattern", {{"layers.[01].q_proj", 4}});
  refuse("target_modules", 5);
  expect_caller_error([] { parse_peft_config("[", "adapter_config.json"); }, "JSON");
  nlohmann::json newer = nlohmann::json::parse(write_peft_config({}));
  newer["from_the_future"] = {{"a", 1}};
  EXPECT_EQ(parse_peft_config(newer.dump(), "adapter_config.json").rank, 8) << "noted, not fatal";
}

TEST(Peft, NamesBrokenWeights) {
  const auto refuse = [](const std::vector<SafetensorsOutput>& tensors, const std::string& part) {
    const TestFolder folder;
    write_file_atomically(folder / "adapter_config.json", write_peft_config({}));
    SafetensorsWriter writer(folder / "adapter_model.safetensors", tensors);
    for (const SafetensorsOutput& tensor : tensors)
      writer.write(std::vector<std::byte>(static_cast<size_t>(tensor.bytes())));
    writer.finish();
    expect_caller_error([&] { open_peft_adapter(folder.path()); }, part);
  };
  const std::string path = "base_model.model.model.layers.0.self_attn.q_proj";
  refuse({}, "no adapter");
  refuse({{path + ".lora_A.weight", DType::f32, {8, 3}}}, "only one");
  refuse({{path + ".lora_A.weight", DType::f32, {4, 3}}, {path + ".lora_B.weight", DType::f32, {3, 4}}}, "rank is 8");
  refuse({{path + ".lora_A.weight", DType::f32, {24}}, {path + ".lora_B.weight", DType::f32, {3, 8}}}, "rank is 8");
  refuse({{path + ".weight", DType::f32, {3, 3}}}, "modules_to_save");
  refuse({{path + ".lora_B.bias", DType::f32, {3}}}, "bias");
  refuse({{path + ".lora_embedding_A", DType::f32, {8, 3}}}, "embedding");
  refuse({{path + ".lora_A.weight", DType::f32, {8, 3}},
          {path + ".lora_B.weight", DType::f32, {3, 8}},
          {path + ".lora_magnitude_vector", DType::f32, {3}}},
         "use_dora is false");
  const TestFolder empty;
  expect_caller_error([&] { open_peft_adapter(empty.path()); }, "adapter_config.json");
  write_file_atomically(empty / "adapter_config.json", write_peft_config({}));
  expect_caller_error([&] { open_peft_adapter(empty.path()); }, "adapter_model.safetensors");
}

}  // namespace
}  // namespace plimsoll
