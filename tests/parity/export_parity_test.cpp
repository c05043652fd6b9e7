// What leaves Plimsoll computes what the model did: a GGUF file of each family with layer norms gives the logits of
// transformers when it is read back, and a merged GPT-2 has the weights that PEFT's merge gives.
#include <cstring>
#include <nlohmann/json.hpp>

#include "arch/architecture.h"
#include "formats/gguf/gguf_export.h"
#include "formats/model_files.h"
#include "models/merge.h"
#include "support/tensor_files.h"
#include "train/probe.h"

namespace plimsoll {
namespace {

// The model as llama.cpp would get it, in f32.
std::string write_gguf(const TestFolder& folder, const std::string& model, const std::string& path = "") {
  const ModelFiles files = open_model(path.empty() ? golden_path("models/" + model) : path);
  std::vector<NamedShape> tensors;
  for (const ParameterSpec& spec : list_parameters(files.config)) tensors.push_back({spec.name, spec.shape});
  const GgufExport plan = plan_gguf_export(files.config, tensors, *find_gguf_file_type("f32"), {}, model);
  GgufWriter writer(folder / "model.gguf", plan.metadata, plan.outputs());
  ThreadPool pool(2);
  for (const GgufExportTensor& tensor : plan.tensors) {
    const std::vector<float> values = read_tensor_as<float>(files.tensors, tensor.hf_name);
    const Shape& shape = files.tensors.find(tensor.hf_name)->shape;
    std::vector<std::byte> staging(static_cast<size_t>(gguf_staging_bytes(tensor)));
    write_gguf_tensor(
        writer, tensor, [&](int64_t row, std::span<float> out) { read_export_row(tensor, shape, values, row, out); },
        pool, staging);
  }
  writer.finish();
  return folder / "model.gguf";
}

class GgufParity : public testing::TestWithParam<const char*> {};

TEST_P(GgufParity, ReadBackItHasTheSameLogits) {
  const TestFolder folder;
  const std::string model = GetParam(), batch = "models/" + model + "/batch.safetensors";
  ProbeOptions options;
  options.model = write_gguf(folder, model);
  options.batch = golden_path(batch);
  options.out = folder / "out.safetensors";
  options.threads = 2;
  run_probe(options);
  const std::vector<float> got = read_tensor_as<float>(open_safetensors(options.out), "logits"),
                           want = Golden("models/" + model + "/expected.safetensors").f32("logits");
  const std::vector<int64_t> mask = Golden(batch).i64("attention_mask");
  ASSERT_EQ(got.size(), want.size());
  const size_t vocabulary = got.size() / mask.size();
  for (size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] == 0) continue;
    const std::span row(got.data() + i * vocabulary, vocabulary), wanted(want.data() + i * vocabulary, vocabulary);
    ASSERT_LE(max_difference(row, wanted), 5e-5) << "position " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(LayerNormFamilies, GgufParity,
                         testing::Values("gpt2", "gpt_neox", "gpt_neox_serial", "phi", "falcon", "falcon40b_style",
                                         "bloom", "starcoder2"),
                         [](const auto& info) { return std::string(info.param); });

INSTANTIATE_TEST_SUITE_P(RmsNormFamilies, GgufParity,
                         testing::Values("granite", "olmo2", "gemma", "phi3", "mixtral", "qwen3_moe", "gpt_oss"),
                         [](const auto& info) { return std::string(info.param); });

// With numbers that llama.cpp can hold, which the golden ones are not.
class DeepseekGguf : public testing::TestWithParam<const char*> {};

TEST_P(DeepseekGguf, ReadBackItHasTheSameLogits) {
  const TestFolder folder;
  const std::string golden = std::string("models/") + GetParam();
  nlohmann::json config = nlohmann::json::parse(read_bytes(golden_path(golden + "/config.json")));
  config["rope_parameters"]["mscale"] = config["rope_parameters"]["mscale_all_dim"] = 0.7;
  config["rms_norm_eps"] = 1e-6;
  config["topk_method"] = "greedy";
  folder.write("model/config.json", config.dump());
  folder.write("model/model.safetensors", read_bytes(golden_path(golden + "/model.safetensors")));
  ProbeOptions options;
  options.batch = golden_path(golden + "/batch.safetensors");
  options.threads = 2;
  std::vector<std::vector<float>> logits;
  for (const std::string& model : {folder / "model", write_gguf(folder, GetParam(), folder / "model")}) {
    options.model = model;
    options.out = folder / "out.safetensors";
    run_probe(options);
    logits.push_back(read_tensor_as<float>(open_safetensors(options.out), "logits"));
  }
  EXPECT_EQ(logits[0], logits[1]);
}

INSTANTIATE_TEST_SUITE_P(Deepseek, DeepseekGguf, testing::Values("deepseek_v2", "deepseek_v3"),
                         [](const auto& info) { return std::string(info.param); });

TEST(GgufExport, NamesTheWayOutForRmsNormFamilies) {
  const TestFolder folder;
  expect_caller_error([&] { write_gguf(folder, "gemma2"); }, "query_pre_attn_scalar");  // llama.cpp divides by head_dim
  expect_caller_error([&] { write_gguf(folder, "phimoe"); }, "architecture phimoe");
  expect_caller_error([&] { write_gguf(folder, "deepseek_v3"); }, "rope scaling");  // mscale is not mscale_all_dim
  expect_caller_error([&] { write_gguf(folder, "deepseek_v2"); }, "rms_norm_eps");
  expect_caller_error([&] { write_gguf(folder, "deepseek_v3_noqlora"); }, "without q_lora_rank");
  ModelConfig config = open_model(golden_path("models/mixtral")).config;
  config.mixture.layers[0] = false;
  expect_caller_error([&] { plan_gguf_export(config, {}, *find_gguf_file_type("f32"), {}, ""); },
                      "layers without experts");
}

TEST(GgufExport, NamesTheWayOutWhereLlamaCppHasNoSuchModel) {
  const TestFolder folder;
  expect_caller_error([&] { write_gguf(folder, "opt"); }, "architecture opt");
  for (const auto change : {+[](ModelConfig& config) { config.query_key_norm = true; },
                            +[](ModelConfig& config) { config.activation = "relu"; },
                            +[](ModelConfig& config) { config.mlp_bias = false; }}) {
    ModelConfig config = open_model(golden_path("models/phi")).config;
    change(config);
    expect_caller_error([&] { plan_gguf_export(config, {}, *find_gguf_file_type("f32"), {}, ""); }, "phi model");
  }
}

class MergeParity : public testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(MergeParity, AsPeftMergesIt) {
  const auto [method, model] = GetParam();
  const TestFolder folder;
  const std::string base = std::string("training/") + method + "/" + model;
  MergeOptions options;
  options.model = golden_path(std::string("models/") + model);
  options.adapter = golden_path(base + "/adapter_final");
  options.target = folder / "merged";
  options.type = "f32";
  run_merge(options);
  const Golden want(base + "/merged.safetensors");
  const TensorIndex got = open_safetensors(folder / "merged/model.safetensors");
  for (const std::string& name : want.names())
    EXPECT_LE(max_difference(read_tensor_as<float>(got, name), want.f32(name)), 1e-5) << name;
  EXPECT_GE(want.names().size(), 8U);
}

INSTANTIATE_TEST_SUITE_P(Adapters, MergeParity,
                         testing::Values(std::tuple("lora", "gpt2"), std::tuple("dora", "gpt2"),
                                         std::tuple("dora", "llama_tied"), std::tuple("dora", "qwen3")),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
                         });

}  // namespace
}  // namespace plimsoll
