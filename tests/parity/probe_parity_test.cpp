// Logits, loss and every gradient of every model family against transformers in float32. Tolerances are those of the
// golden data: logits 5e-5 and loss 1e-5 absolute, gradients 2e-5 of each tensor's largest value.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "models/merge.h"
#include "support/tensor_files.h"
#include "train/probe.h"

namespace plimsoll {
namespace {

constexpr double kLogits = 5e-5, kLoss = 1e-5, kGradient = 2e-5, kBf16Loss = 4e-2, kFp16Loss = 1e-2;

std::string model_folder(const TestFolder& folder, const std::string& model,
                         const std::string& config = "config.json") {
  const std::string to = folder / "model";
  std::filesystem::create_directories(to);
  std::filesystem::copy_file(golden_path("models/" + model + "/" + config), to + "/config.json");
  std::filesystem::copy_file(golden_path("models/" + model + "/model.safetensors"), to + "/model.safetensors");
  return to;
}

// Logits where the mask is 1; the rest is nobody's business.
void expect_logits(const TensorIndex& got, const std::vector<float>& want, const std::vector<int64_t>& mask) {
  const std::vector<float> logits = read_tensor_as<float>(got, "logits");
  ASSERT_EQ(logits.size(), want.size());
  const size_t vocabulary = logits.size() / mask.size();
  for (size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] == 0) continue;
    const std::span row(logits.data() + i * vocabulary, vocabulary), wanted(want.data() + i * vocabulary, vocabulary);
    ASSERT_LE(max_difference(row, wanted), kLogits) << "position " << i;
  }
}

// Without rotation softmax does not see a bias of the keys: OPT's gradient is zero in exact arithmetic, and what is
// left is rounding.
bool is_rounding_only(const std::string& name) {
  return name.find("model.decoder.layers.") != std::string::npos && name.ends_with("k_proj.bias");
}

// Every gradient of `expected` that begins with `prefix`, and no others.
void expect_gradients(const TensorIndex& got, const Golden& expected, const std::string& prefix) {
  size_t compared = 0;
  double largest = 0;
  for (const std::string& name : expected.names())
    if (name.starts_with(prefix + "grad.")) largest = std::max(largest, max_abs(expected.f32(name)));
  for (const std::string& name : expected.names()) {
    if (!name.starts_with(prefix + "grad.")) continue;
    const std::vector<float> want = expected.f32(name);
    const std::vector<float> gradient = read_tensor_as<float>(got, name.substr(prefix.size()));
    const double tolerance = is_rounding_only(name) ? 1e-3 * largest : kGradient * max_abs(want);
    EXPECT_LE(max_difference(gradient, want), tolerance) << name << ", largest " << max_abs(want);
    ++compared;
  }
  EXPECT_GT(compared, 10U);
  for (const TensorEntry& entry : got.entries)
    EXPECT_TRUE(!entry.name.starts_with("grad.") || expected.has(prefix + entry.name))
        << entry.name << " is not expected";
}

TensorIndex probe(const TestFolder& folder, const std::string& model, const std::string& batch,
                  DType precision = DType::f32) {
  ProbeOptions options;
  options.model = model;
  options.batch = batch;
  options.out = folder / "out.safetensors";
  options.gradients = true;
  options.precision = precision;
  options.threads = 2;
  run_probe(options);
  return open_safetensors(options.out);
}

class ModelParity : public testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(ModelParity, LogitsLossAndGradients) {
  const auto& [model, config] = GetParam();
  const TestFolder folder;
  const std::string batch = "models/" + model + "/batch.safetensors";
  const TensorIndex got = probe(folder, model_folder(folder, model, config), golden_path(batch));
  const Golden expected("models/" + model + "/expected.safetensors");
  expect_logits(got, expected.f32("logits"), Golden(batch).i64("attention_mask"));
  EXPECT_NEAR(read_tensor_as<float>(got, "loss").at(0), expected.f32("loss").at(0), kLoss);
  expect_gradients(got, expected, "");
}

TEST_P(ModelParity, Fp16LossIsNear) {
  const auto& [model, config] = GetParam();
  const TestFolder folder;
  const TensorIndex got = probe(folder, model_folder(folder, model, config),
                                golden_path("models/" + model + "/batch.safetensors"), DType::f16);
  const Golden expected("models/" + model + "/expected.safetensors");
  EXPECT_NEAR(read_tensor_as<float>(got, "loss").at(0), expected.f32("loss").at(0), kFp16Loss);
}

struct Products {
  double dot = 0, ours = 0, theirs = 0;
  void add(double mine, double other) { dot += mine * other, ours += mine * mine, theirs += other * other; }
  void add(const Products& more) { dot += more.dot, ours += more.ours, theirs += more.theirs; }
  double cosine() const { return dot / std::sqrt(ours * theirs); }
};

TEST_P(ModelParity, Bf16LossIsNear) {
  const auto& [model, config] = GetParam();
  const TestFolder folder;
  const TensorIndex got = probe(folder, model_folder(folder, model, config),
                                golden_path("models/" + model + "/batch.safetensors"), DType::bf16);
  const Golden expected("models/" + model + "/expected.safetensors");
  EXPECT_NEAR(read_tensor_as<float>(got, "loss").at(0), expected.f32("loss").at(0), kBf16Loss);
  // Directions agree, too: bf16 keeps about 8 bits, sums over a small model stay within a few percent.
  Products all;
  std::map<std::string, double> cosines;
  for (const std::string& name : expected.names()) {
    if (!name.starts_with("grad.") || is_rounding_only(name)) continue;
    const std::vector<float> want = expected.f32(name), gradient = read_tensor_as<float>(got, name);
    ASSERT_EQ(gradient.size(), want.size());
    Products one;
    for (size_t i = 0; i < want.size(); ++i) one.add(gradient[i], want[i]);
    if (one.theirs == 0) EXPECT_EQ(one.ours, 0) << name;  // an expert that no token went to
    else cosines[name] = one.cosine();
    all.add(one);
  }
  EXPECT_GT(all.cosine(), 0.98);
  // Where rounding sends a token near a router's tie to another expert, the gradients on its way are other ones.
  const bool has_router = std::any_of(cosines.begin(), cosines.end(), [](const auto& each) {
    return each.first.find(".experts.") != std::string::npos;
  });
  if (has_router && all.cosine() < 0.995) return;
  for (const auto& [name, cosine] : cosines) EXPECT_GT(cosine, 0.98) << name;
}

INSTANTIATE_TEST_SUITE_P(LlamaFamily, ModelParity,
                         testing::Combine(testing::Values("llama", "llama_tied", "llama3_rope", "llama_linear_rope",
                                                          "llama_yarn", "mistral", "qwen2", "qwen3"),
                                          testing::Values("config.json", "config_legacy.json")),
                         [](const auto& info) {
                           return std::get<0>(info.param) + (std::get<1>(info.param) == "config.json" ? "" : "_legacy");
                         });

INSTANTIATE_TEST_SUITE_P(NormFamilies, ModelParity,
                         testing::Combine(testing::Values("granite", "olmo2", "gemma", "gemma2", "gemma3_text", "phi3"),
                                          testing::Values("config.json", "config_legacy.json")),
                         [](const auto& info) {
                           return std::get<0>(info.param) + (std::get<1>(info.param) == "config.json" ? "" : "_legacy");
                         });

INSTANTIATE_TEST_SUITE_P(Mixtures, ModelParity,
                         testing::Combine(testing::Values("mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3",
                                                          "deepseek_v3_noqlora", "deepseek_v2", "deepseek_v2_greedy",
                                                          "phimoe"),
                                          testing::Values("config.json", "config_legacy.json")),
                         [](const auto& info) {
                           return std::get<0>(info.param) + (std::get<1>(info.param) == "config.json" ? "" : "_legacy");
                         });
INSTANTIATE_TEST_SUITE_P(
    LayerNormFamilies, ModelParity,
    testing::Values(std::tuple("gpt2", "config.json"), std::tuple("opt", "config.json"),
                    std::tuple("opt_350m_style", "config.json"), std::tuple("bloom", "config.json"),
                    std::tuple("gpt_neox", "config.json"), std::tuple("gpt_neox", "config_legacy.json"),
                    std::tuple("gpt_neox_serial", "config.json"), std::tuple("gpt_neox_serial", "config_legacy.json"),
                    std::tuple("phi", "config.json"), std::tuple("phi", "config_legacy.json"),
                    std::tuple("falcon", "config.json"), std::tuple("falcon", "config_legacy.json"),
                    std::tuple("falcon40b_style", "config.json"), std::tuple("falcon40b_style", "config_legacy.json"),
                    std::tuple("starcoder2", "config.json"), std::tuple("starcoder2", "config_legacy.json")),
    [](const auto& info) {
      return std::string(std::get<0>(info.param)) +
             (std::string(std::get<1>(info.param)) == "config.json" ? "" : "_legacy");
    });

// Adapters on a base in NF4 with double quantization: quantized on the way as bitsandbytes does, read from a folder
// that is quantized, unpacked as it is read.
class QloraParity : public testing::TestWithParam<std::string> {};

TEST_P(QloraParity, LogitsLossAndAdapterGradients) {
  const TestFolder folder;
  ProbeOptions options;
  options.model = GetParam() == "nf4" ? model_folder(folder, "llama") : golden_path("quant/qlora");
  options.adapter = golden_path("quant/qlora/adapter");
  options.batch = golden_path("quant/qlora/batch.safetensors");
  options.out = folder / "out.safetensors";
  options.gradients = true;
  options.quant = GetParam();
  options.threads = 2;
  run_probe(options);
  const TensorIndex got = open_safetensors(options.out);
  const Golden expected("quant/qlora/expected.safetensors");
  expect_logits(got, expected.f32("logits"), Golden("quant/qlora/batch.safetensors").i64("attention_mask"));
  EXPECT_NEAR(read_tensor_as<float>(got, "loss").at(0), expected.f32("loss").at(0), kLoss);
  expect_gradients(got, expected, "");
}

INSTANTIATE_TEST_SUITE_P(Bases, QloraParity, testing::Values("nf4", "stored", "none"),
                         [](const auto& info) { return info.param; });

class BalanceParity : public testing::TestWithParam<std::string> {};

// As transformers with output_router_logits and a weight of 0.5: tests/tools/make_balance_golden.py.
TEST_P(BalanceParity, LossAndGradients) {
  const TestFolder folder;
  const std::string model = model_folder(folder, GetParam());
  nlohmann::json config = nlohmann::json::parse(read_bytes(model + "/config.json"));
  config["output_router_logits"] = true;
  config["router_aux_loss_coef"] = 0.5;
  folder.write("model/config.json", config.dump());
  const TensorIndex got = probe(folder, model, golden_path("models/" + GetParam() + "/batch.safetensors"));
  const Golden expected("models/" + GetParam() + "/balance.safetensors");
  EXPECT_NEAR(read_tensor_as<float>(got, "loss").at(0), expected.f32("loss").at(0), kLoss);
  int compared = 0;
  for (const std::string& name : expected.names()) {
    if (!name.starts_with("grad.")) continue;
    const std::vector<float> want = expected.f32(name);
    EXPECT_LE(max_difference(read_tensor_as<float>(got, name), want), kGradient * max_abs(want)) << name;
    ++compared;
  }
  EXPECT_GE(compared, 3);
}

INSTANTIATE_TEST_SUITE_P(Mixtures, BalanceParity, testing::Values("mixtral", "qwen3_moe", "gpt_oss", "phimoe"),
                         [](const auto& info) { return info.param; });

class ExpertAdapterParity : public testing::TestWithParam<std::string> {};

// As PEFT computes it: tests/tools/make_expert_adapter.py. Merged, the model gives the same.
TEST_P(ExpertAdapterParity, Logits) {
  const TestFolder folder;
  ProbeOptions options;
  options.model = model_folder(folder, GetParam());
  options.batch = golden_path("models/" + GetParam() + "/batch.safetensors");
  options.adapter = golden_path("adapters/" + GetParam());
  options.out = folder / "out.safetensors";
  options.threads = 2;
  run_probe(options);
  const std::vector<float> want = Golden("adapters/" + GetParam() + "/expected.safetensors").f32("logits");
  const std::vector<int64_t> mask = Golden("models/" + GetParam() + "/batch.safetensors").i64("attention_mask");
  expect_logits(open_safetensors(options.out), want, mask);

  MergeOptions merge;
  merge.model = options.model;
  merge.adapter = options.adapter;
  merge.target = options.model = folder / "merged";
  merge.type = "f32";
  run_merge(merge);
  options.adapter.clear();
  run_probe(options);
  expect_logits(open_safetensors(options.out), want, mask);
}

INSTANTIATE_TEST_SUITE_P(Mixtures, ExpertAdapterParity, testing::Values("mixtral", "deepseek_v3"),
                         [](const auto& info) { return info.param; });

// The batch of packing/MODEL without its prefix; `leave_out` drops one tensor.
std::string write_batch_file(const TestFolder& folder, const Golden& golden, const std::string& prefix,
                             const std::string& leave_out = "") {
  std::vector<TestTensor> tensors;
  for (const std::string& name : golden.names()) {
    if (!name.starts_with(prefix) || name.ends_with("cu_seqlens") || (!leave_out.empty() && name.ends_with(leave_out)))
      continue;
    const std::vector<int64_t> shape = golden.shape(name);
    tensors.push_back(
        make_tensor(name.substr(prefix.size()), DType::i64, {shape.at(0), shape.at(1)}, golden.i64(name)));
  }
  write_tensors(folder / "batch.safetensors", tensors);
  return folder / "batch.safetensors";
}

class PackingParity : public testing::TestWithParam<std::string> {
 protected:
  void check(const std::string& prefix, const std::string& leave_out = "") {
    const TestFolder folder;
    const Golden batch("packing/" + GetParam() + "/batch.safetensors"),
        expected("packing/" + GetParam() + "/expected.safetensors");
    const TensorIndex got =
        probe(folder, model_folder(folder, GetParam()), write_batch_file(folder, batch, prefix, leave_out));
    const std::vector<float> logits = expected.f32(prefix + "logits");
    std::vector<int64_t> mask(static_cast<size_t>(batch.i64(prefix + "input_ids").size()), 1);
    if (batch.has(prefix + "attention_mask")) mask = batch.i64(prefix + "attention_mask");
    expect_logits(got, logits, mask);
    EXPECT_NEAR(read_tensor_as<float>(got, "loss").at(0), expected.f32(prefix + "loss").at(0), kLoss);
    expect_gradients(got, expected, prefix);
  }
};

TEST_P(PackingParity, Unpacked) { check("unpacked."); }
TEST_P(PackingParity, PackedBySegmentIds) { check("packed."); }
TEST_P(PackingParity, PackedByPositions) { check("packed.", "segment_ids"); }

INSTANTIATE_TEST_SUITE_P(LlamaFamily, PackingParity, testing::Values("llama", "qwen3"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace plimsoll
