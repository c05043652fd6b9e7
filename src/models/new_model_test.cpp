#include "models/new_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "formats/safetensors.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

const char* const kLlama = R"({"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
  "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "head_dim": 64,
  "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 5000, "tie_word_embeddings": true})";
const char* const kGpt2 = R"({"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257,
  "n_positions": 1024, "eos_token_id": 50256})";

ModelSizes sizes(int64_t layers, int64_t hidden, int64_t heads, int64_t vocab, std::optional<int64_t> context = {}) {
  ModelSizes sizes;
  sizes.layers = layers;
  sizes.hidden = hidden;
  sizes.heads = heads;
  sizes.vocab = vocab;
  sizes.context = context;
  return sizes;
}

ModelConfig resized(const char* config, const ModelSizes& sizes) {
  return parse_hf_config(resize_config(config, "base", sizes), "new");
}

TEST(NewModel, WhatIsNotSaidFollows) {
  const ModelConfig llama = resized(kLlama, sizes(4, 192, 6, 1000));
  EXPECT_EQ(llama.layers, 4);
  EXPECT_EQ(llama.hidden_size, 192);
  EXPECT_EQ(llama.heads, 6);
  EXPECT_EQ(llama.kv_heads, 2);
  EXPECT_EQ(llama.head_dim, 32);
  EXPECT_EQ(llama.intermediate_size, 512);
  EXPECT_EQ(llama.eos_token_ids, std::vector<int64_t>{2});
  EXPECT_FALSE(llama.pad_token_id) << "the vocabulary has no token 5000";
  EXPECT_TRUE(llama.tied_embeddings);
  ModelSizes untied;
  untied.tied = false;
  EXPECT_FALSE(resized(kLlama, untied).tied_embeddings);
}

TEST(NewModel, FamiliesHaveNamesOfTheirOwn) {
  const ModelConfig gpt2 = resized(kGpt2, sizes(2, 64, 4, 300, 32));
  EXPECT_EQ(gpt2.layers, 2);
  EXPECT_EQ(gpt2.hidden_size, 64);
  EXPECT_EQ(gpt2.heads, 4);
  EXPECT_EQ(gpt2.intermediate_size, 256);
  EXPECT_EQ(gpt2.context_length, 32);
}

struct Moments {
  double mean, deviation;
};

Moments moments(const TensorIndex& tensors, const char* name) {
  const TensorEntry& entry = *tensors.find(name);
  std::vector<float> values(static_cast<size_t>(entry.shape.elements()));
  tensors.files[static_cast<size_t>(entry.file)]->read(entry.offset, std::as_writable_bytes(std::span(values)));
  double sum = 0, squares = 0;
  for (const float value : values) sum += value, squares += static_cast<double>(value) * value;
  const double n = static_cast<double>(values.size());
  return {sum / n, std::sqrt(squares / n - sum / n * sum / n)};
}

TEST(NewModel, WeightsAreDrawnAsTheFamilyDoes) {
  const TestFolder folder;
  const ModelConfig config = resized(kGpt2, sizes(2, 128, 4, 500, 32));
  write_random_weights(config, DType::f32, 3, folder.path(), [](int64_t) {});
  const TensorIndex tensors = open_safetensors(folder / "model.safetensors");
  EXPECT_EQ(tensors.entries.size(), list_parameters(config).size());
  EXPECT_NEAR(moments(tensors, "transformer.wte.weight").deviation, 0.02, 4e-4);
  EXPECT_NEAR(moments(tensors, "transformer.wte.weight").mean, 0, 3e-4);
  EXPECT_NEAR(moments(tensors, "transformer.h.1.mlp.c_proj.weight").deviation, 0.02 / 2, 2e-4) << "0.02 / √(2 · 2)";
  EXPECT_EQ(moments(tensors, "transformer.h.0.ln_1.weight").mean, 1);
  EXPECT_EQ(moments(tensors, "transformer.h.0.mlp.c_fc.bias").deviation, 0);
  const TestFolder again;
  write_random_weights(config, DType::f32, 3, again.path(), [](int64_t) {});
  EXPECT_EQ(read_bytes(again / "model.safetensors"), read_bytes(folder / "model.safetensors"));
  write_random_weights(config, DType::f32, 4, again.path(), [](int64_t) {});
  EXPECT_NE(read_bytes(again / "model.safetensors"), read_bytes(folder / "model.safetensors"));
}

TEST(NewModel, ThePaddingTokenSaysNothing) {
  const TestFolder folder;
  ModelConfig config = resized(kLlama, sizes(1, 36, 9, 100));
  config.pad_token_id = 7;
  write_random_weights(config, DType::f32, 0, folder.path(), [](int64_t) {});
  const TensorIndex tensors = open_safetensors(folder / "model.safetensors");
  const TensorEntry& embedding = *tensors.find("model.embed_tokens.weight");
  std::vector<float> values(100 * 36);
  tensors.files[0]->read(embedding.offset, std::as_writable_bytes(std::span(values)));
  for (int i = 0; i < 36; ++i) {
    EXPECT_EQ(values[7 * 36 + static_cast<size_t>(i)], 0);
    EXPECT_NE(values[6 * 36 + static_cast<size_t>(i)], 0);
  }
}

TEST(NewModel, WhatIsNoConfig) {
  expect_caller_error([] { resize_config("[1]", "base", {}); }, "is not the config.json");
}

}  // namespace
}  // namespace plimsoll
