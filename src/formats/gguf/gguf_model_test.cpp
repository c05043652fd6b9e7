#include "formats/gguf/gguf_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "formats/gguf/gguf_export.h"
#include "formats/gguf/gguf_names.h"
#include "formats/model_files.h"
#include "formats/text_file.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

TEST(GgufModel, ReadsTheGoldenFiles) {
  for (const char* name : {"f32", "q8_0", "q4_k_m"}) {
    const ModelFiles files = open_model(golden_path(std::string("gguf/llama/tiny-") + name + ".gguf"));
    EXPECT_EQ(files.kind, ModelFiles::Kind::gguf);
    EXPECT_TRUE(files.has_weights);
    const ModelConfig& config = files.config;
    EXPECT_EQ(config.architecture, "llama");
    EXPECT_EQ(config.vocab_size, 296);
    EXPECT_EQ(config.hidden_size, 256);
    EXPECT_EQ(config.intermediate_size, 256);
    EXPECT_EQ(config.layers, 1);
    EXPECT_EQ(config.heads, 4);
    EXPECT_EQ(config.kv_heads, 1);
    EXPECT_EQ(config.head_dim, 64);
    EXPECT_EQ(config.context_length, 128);
    EXPECT_EQ(config.norm_eps, 1e-5) << "the double that the float stands for";
    EXPECT_TRUE(config.tied_embeddings);
    EXPECT_EQ(config.rope, RopeConfig());
    EXPECT_EQ(config.bos_token_id, 1);
    EXPECT_EQ(config.eos_token_ids, std::vector<int64_t>{2});
    EXPECT_EQ(files.tensors.entries.size(), 11U);
    EXPECT_EQ(files.gguf->find("tokenizer.ggml.tokens")->array()->texts[1], "<s>");
    const TensorEntry* q = files.tensors.find("model.layers.0.self_attn.q_proj.weight");
    ASSERT_NE(q, nullptr);
    EXPECT_EQ(q->interleaved_heads, 4);
    EXPECT_EQ(files.tensors.find("model.layers.0.self_attn.v_proj.weight")->interleaved_heads, 0);
  }
}

// Quantized files hold the same model, so their values are near those of the float file, rows of q and k included.
TEST(GgufModel, GoldenFilesHoldTheSameModel) {
  const TensorIndex exact = open_model(golden_path("gguf/llama/tiny-f32.gguf")).tensors;
  for (const char* name : {"q8_0", "q4_k_m"}) {
    const TensorIndex other = open_model(golden_path(std::string("gguf/llama/tiny-") + name + ".gguf")).tensors;
    for (const TensorEntry& entry : exact.entries) {
      const std::vector<float> a = load_floats(exact, entry.name), b = load_floats(other, entry.name, 5000);
      double difference = 0, size = 0;
      for (size_t i = 0; i < a.size(); ++i) {
        difference += std::pow(a[i] - b[i], 2);
        size += std::pow(a[i], 2);
      }
      EXPECT_LT(std::sqrt(difference / size), std::string(name) == "q8_0" ? 0.01 : 0.1) << name << " " << entry.name;
    }
  }
}

TEST(GgufModel, NamesTranslateBothWays) {
  ModelConfig llama;
  llama.architecture = "llama";
  for (const auto& [gguf, hf] : std::vector<std::pair<std::string, std::string>>{
           {"token_embd.weight", "model.embed_tokens.weight"},
           {"output_norm.weight", "model.norm.weight"},
           {"output.weight", "lm_head.weight"},
           {"blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"},
           {"blk.12.attn_q.bias", "model.layers.12.self_attn.q_proj.bias"},
           {"blk.3.attn_q_norm.weight", "model.layers.3.self_attn.q_norm.weight"},
           {"blk.3.ffn_norm.weight", "model.layers.3.post_attention_layernorm.weight"},
           {"blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight"}}) {
    EXPECT_EQ(hf_name_of_gguf(llama, gguf), hf);
    EXPECT_EQ(gguf_name_of_hf(llama, hf), gguf);
  }
  for (const char* none : {"", "blk", "blk.", "blk.x.attn_q.weight", "blk..attn_q.weight", "blk.1.weight",
                           "attn_q.weight", "blk.1.attn_q", "blk.1.attn_q.lora", "blk.1.token_embd.weight"}) {
    EXPECT_EQ(hf_name_of_gguf(llama, none), "") << none;
  }
}

ModelConfig small_config(const std::string& architecture) {
  ModelConfig config;
  config.architecture = architecture;
  config.vocab_size = 40;
  config.hidden_size = 64;
  config.intermediate_size = 96;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.context_length = 128;
  config.norm_eps = 1e-5;
  config.bos_token_id = 1;
  config.eos_token_ids = {2};
  config.attention_bias = architecture == "qwen2";
  return config;
}

std::vector<NamedShape> small_tensors(const ModelConfig& config) {
  std::vector<NamedShape> out = {{"model.embed_tokens.weight", {40, 64}}, {"model.norm.weight", {64}}};
  if (!config.tied_embeddings) out.push_back({"lm_head.weight", {40, 64}});
  for (int layer = 0; layer < 2; ++layer) {
    const std::string path = "model.layers." + std::to_string(layer) + ".";
    const int64_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
    out.push_back({path + "input_layernorm.weight", {64}});
    out.push_back({path + "self_attn.q_proj.weight", {q, 64}});
    out.push_back({path + "self_attn.k_proj.weight", {kv, 64}});
    out.push_back({path + "self_attn.v_proj.weight", {kv, 64}});
    if (config.attention_bias) {
      out.push_back({path + "self_attn.q_proj.bias", {q}});
      out.push_back({path + "self_attn.k_proj.bias", {kv}});
      out.push_back({path + "self_attn.v_proj.bias", {kv}});
    }
    out.push_back({path + "self_attn.o_proj.weight", {64, q}});
    out.push_back({path + "post_attention_layernorm.weight", {64}});
    out.push_back({path + "mlp.gate_proj.weight", {96, 64}});
    out.push_back({path + "mlp.up_proj.weight", {96, 64}});
    out.push_back({path + "mlp.down_proj.weight", {64, 96}});
  }
  return out;
}

float value_of(const std::string& name, int64_t i) {
  return std::sin(static_cast<float>(i % 1009) + static_cast<float>(name.size()) * 0.1F);
}

ModelFiles export_and_open(const TestFolder& folder, const ModelConfig& config, DType type) {
  const GgufExport plan = plan_gguf_export(
      config, small_tensors(config), *find_gguf_file_type(dtype_name(type)),
      {{"tokenizer.ggml.bos_token_id", gguf_u32(1)}, {"tokenizer.ggml.eos_token_id", gguf_u32(2)}}, "small");
  GgufWriter writer(folder / "m.gguf", plan.metadata, plan.outputs());
  ThreadPool pool(2);
  for (const GgufExportTensor& tensor : plan.tensors) {
    std::vector<std::byte> staging(static_cast<size_t>(gguf_staging_bytes(tensor)));
    write_gguf_tensor(
        writer, tensor,
        [&](int64_t row, std::span<float> out) {
          for (size_t i = 0; i < out.size(); ++i)
            out[i] = value_of(tensor.hf_name, row * static_cast<int64_t>(out.size()) + static_cast<int64_t>(i));
        },
        pool, staging);
  }
  writer.finish();
  return open_model(folder / "m.gguf");
}

void expect_same_model(const ModelFiles& files, const ModelConfig& config, DType type) {
  ModelConfig expected = config;
  expected.stored_dtype = type;
  EXPECT_EQ(files.config, expected) << write_hf_config(files.config, type) << write_hf_config(expected, type);
  for (const NamedShape& tensor : small_tensors(config)) {
    const TensorEntry* entry = files.tensors.find(tensor.name);
    ASSERT_NE(entry, nullptr) << tensor.name;
    EXPECT_EQ(entry->shape, tensor.shape);
    const std::vector<float> values = load_floats(files.tensors, tensor.name);
    const float tolerance = entry->dtype == DType::f32 ? 0.0F : entry->dtype == DType::f16 ? 3e-4F : 5e-3F;
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_NEAR(values[i], value_of(tensor.name, static_cast<int64_t>(i)), tolerance) << tensor.name << " " << i;
    }
  }
}

TEST(GgufExport, RoundTripsEveryArchitectureAndType) {
  const TestFolder folder;
  for (const char* architecture : {"llama", "mistral", "qwen2", "qwen3"}) {
    for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::q8_0}) {
      ModelConfig config = small_config(architecture);
      if (config.architecture == "mistral") {
        config.sliding_window = 8;
        config.layer_slides = {true, true};
      }
      config.tied_embeddings = type == DType::f16;
      expect_same_model(export_and_open(folder, config, type), config, type);
    }
  }
}

TEST(GgufExport, RoundTripsRopeScaling) {
  const TestFolder folder;
  ModelConfig config = small_config("llama");
  config.rope.theta = 500000;
  config.rope.kind = RopeKind::linear;
  config.rope.factor = 4;
  expect_same_model(export_and_open(folder, config, DType::f32), config, DType::f32);
  config.rope.kind = RopeKind::yarn;
  config.rope.original_context_length = 32;
  expect_same_model(export_and_open(folder, config, DType::f32), config, DType::f32);
  config.rope.beta_fast = 16;
  EXPECT_EQ(export_and_open(folder, config, DType::f32).config.rope.beta_fast, 16);
  config.rope.attention_factor = 1.5;
  EXPECT_NEAR(*export_and_open(folder, config, DType::f32).config.rope.attention_factor, 1.5, 1e-6);

  config.rope = {};
  config.rope.kind = RopeKind::llama3;
  config.rope.factor = 8;
  config.rope.original_context_length = 16;
  const RopeConfig read = export_and_open(folder, config, DType::f32).config.rope;
  EXPECT_EQ(read.kind, RopeKind::standard);
  const std::vector<double> divisors = llama3_frequency_divisors(config.rope, 16);
  ASSERT_EQ(read.frequency_divisors.size(), 8U);
  for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(read.frequency_divisors[i], divisors[i], 1e-6);

  config.rope = {};
  config.rope.kind = RopeKind::longrope;
  config.rope.factor = 4;
  config.rope.original_context_length = 32;
  config.rope.short_factor.assign(8, 1.0);
  config.rope.long_factor.assign(8, 2.5);
  const RopeConfig longrope = export_and_open(folder, config, DType::f32).config.rope;
  EXPECT_EQ(longrope.kind, RopeKind::longrope);
  EXPECT_EQ(longrope.long_factor, config.rope.long_factor);
  EXPECT_NEAR(*longrope.attention_factor, std::sqrt(1 + std::log(4) / std::log(32)), 1e-6);

  config.rope.kind = RopeKind::dynamic;
  expect_caller_error([&] { plan_gguf_export(config, {}, *find_gguf_file_type("f32"), {}, ""); }, "dynamic");
}

TEST(GgufExport, RowsThatAreNoWholeBlocksBecomeHalves) {
  ModelConfig config = small_config("llama");
  const GgufExport plan =
      plan_gguf_export(config, {{"model.layers.0.mlp.up_proj.weight", {8, 40}}}, *find_gguf_file_type("q8_0"), {}, "");
  EXPECT_EQ(plan.tensors[0].output.dtype, DType::f16);
  expect_caller_error(
      [&] {
        plan_gguf_export(config, {{"strange.weight", {8, 8}}}, *find_gguf_file_type("f32"), {}, "");
      },
      "strange.weight");
}

TEST(GgufModel, NamesWhatIsWrong) {
  const GgufFile golden = read_gguf(InputFile(golden_path("gguf/llama/tiny-f32.gguf")));
  const ReadAt none = [](int64_t, std::span<std::byte>) {};
  const auto refuse = [&](const std::function<void(GgufFile&)>& change, const std::string& part) {
    GgufFile changed = golden;
    change(changed);
    expect_caller_error([&] { gguf_model_config(changed, none, "x.gguf"); }, part);
  };
  refuse([](GgufFile& file) { file.metadata.erase("general.architecture"); }, "architecture");
  refuse([](GgufFile& file) { file.metadata["general.architecture"] = gguf_text("mamba"); }, "mamba");
  refuse([](GgufFile& file) { file.metadata["general.type"] = gguf_text("adapter"); }, "adapter");
  refuse([](GgufFile& file) { file.metadata.erase("llama.block_count"); }, "llama.block_count");
  refuse([](GgufFile& file) { file.metadata["llama.block_count"] = gguf_text("one"); }, "llama.block_count");
  refuse([](GgufFile& file) { file.metadata["llama.expert_count"] = gguf_u32(8); }, "experts");
  refuse([](GgufFile& file) { file.metadata["llama.attention.head_count"] = gguf_u32(0); }, "head_count");
  refuse([](GgufFile& file) { file.metadata["llama.attention.head_count_kv"] = gguf_u32(3); }, "heads");
  refuse([](GgufFile& file) { file.metadata["llama.attention.key_length"] = gguf_u32(63); }, "odd");
  refuse([](GgufFile& file) { file.metadata["llama.rope.scaling.type"] = gguf_text("spiral"); }, "spiral");
  refuse([](GgufFile& file) { file.metadata["llama.embedding_length"] = gguf_u32(128); }, "token_embd");
  refuse([](GgufFile& file) { file.tensors.clear(); }, "token_embd");
}

}  // namespace
}  // namespace plimsoll
