#include "formats/gguf/gguf_file_type.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace plimsoll {
namespace {

using Json = nlohmann::json;

TEST(GgufFileTypes, AreThoseThatLlamaCppChooses) {
  std::ifstream file(PLIMSOLL_TEST_DATA "/golden/gguf/mixes/types.json");
  const Json golden = Json::parse(file).at("models");
  int checked = 0;
  for (const auto& [model, entry] : golden.items()) {
    ModelConfig config;
    config.architecture = entry.at("arch");
    config.hidden_size = entry.at("hidden");
    config.intermediate_size = entry.at("intermediate");
    config.layers = entry.at("layers");
    config.heads = entry.at("heads");
    config.kv_heads = entry.at("kv_heads");
    config.head_dim = config.hidden_size / config.heads;
    config.tied_embeddings = entry.at("tied");
    const int64_t vocab = entry.at("vocab");
    for (const auto& [name, tensors] : entry.at("types").items()) {
      const GgufFileType* type = find_gguf_file_type(name);
      ASSERT_NE(type, nullptr) << name;
      for (const auto& [part, expected] : tensors.items()) {
        const bool in_layer = part != "token_embd" && part != "output" && part != "position_embd";
        const Shape shape{in_layer ? 8 : vocab, part == "ffn_down" ? config.intermediate_size : config.hidden_size};
        for (int64_t layer = 0; layer < (in_layer ? config.layers : 1); ++layer) {
          const std::string tensor = (in_layer ? "blk." + std::to_string(layer) + "." : "") + part + ".weight";
          const Json& wanted = expected.is_array() ? expected[static_cast<size_t>(layer)] : expected;
          ASSERT_EQ(dtype_name(gguf_tensor_type(*type, config, tensor, shape)), wanted.get<std::string>())
              << model << " " << name << " " << tensor;
          ++checked;
        }
      }
    }
  }
  EXPECT_GT(checked, 10000);
}

TEST(GgufFileTypes, Names) {
  EXPECT_EQ(find_gguf_file_type("q4_k"), find_gguf_file_type("q4_k_m"));
  EXPECT_EQ(find_gguf_file_type("q9"), nullptr);
  const ModelConfig config;
  EXPECT_EQ(gguf_tensor_type(*find_gguf_file_type("q4_k_m"), config, "blk.0.attn_norm.weight", {256}), DType::f32);
  EXPECT_EQ(gguf_tensor_type(*find_gguf_file_type("bf16"), config, "blk.0.attn_q.weight", {3, 7}), DType::bf16);
}

}  // namespace
}  // namespace plimsoll
