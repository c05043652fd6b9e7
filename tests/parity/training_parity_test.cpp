// Twenty training steps against PyTorch and PEFT: loss, rate and gradient norm of every step, and the weights at the
// end. Tolerances are those of the golden data: loss 2e-5, weights and adapters 1e-5 absolute, gradient norm 1e-5
// relative.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <tuple>

#include "support/tensor_files.h"
#include "train/trainer.h"

namespace plimsoll {
namespace {

constexpr double kLoss = 2e-5, kRate = 1e-12, kNorm = 1e-5, kWeights = 1e-5, kFp16Loss = 1e-2;

// Cuts the same step in another way: one row a micro-batch, everything made again, a few rows of logits at once.
enum class Cut { whole, small };

using nlohmann::json;

// steps.csv as one list of columns a step.
std::vector<std::vector<double>> read_steps(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  EXPECT_TRUE(line.starts_with("step,loss,lr,grad_norm,target_tokens")) << path;
  std::vector<std::vector<double>> steps;
  while (std::getline(file, line)) {
    std::istringstream cells(line);
    steps.emplace_back();
    for (std::string cell; std::getline(cells, cell, ',');) steps.back().push_back(std::stod(cell));
  }
  return steps;
}

// One row of ready ids a row of the golden batches; returns (rows a step, tokens a row).
std::pair<int64_t, int64_t> write_rows(const Golden& batches, const std::string& path) {
  const std::vector<int64_t> shape = batches.shape("input_ids");
  const auto length = static_cast<size_t>(shape.at(2));
  std::ofstream file(path);
  const auto ids = batches.i64("input_ids"), labels = batches.i64("labels"), mask = batches.i64("attention_mask");
  const auto part = [&](const std::vector<int64_t>& all, size_t row) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(row * length);
    return std::vector<int64_t>(begin, begin + static_cast<std::ptrdiff_t>(length));
  };
  for (size_t row = 0; row < ids.size() / length; ++row)
    file << json{{"input_ids", part(ids, row)}, {"labels", part(labels, row)}, {"attention_mask", part(mask, row)}}
                .dump()
         << "\n";
  return {shape.at(1), shape.at(2)};
}

Recipe recipe_of(const std::string& method, const std::string& model, const TestFolder& folder, Cut cut) {
  const std::string base = "training/" + method + "/" + model;
  const json golden = json::parse(read_bytes(golden_path(base + "/method.json")));
  const bool accumulates = method == "grad-accumulation";
  const Golden batches("training/batches/" + model + (accumulates ? "_accumulate4" : "") + ".safetensors");
  const auto [rows, length] = write_rows(batches, folder / "rows.jsonl");
  Recipe recipe;
  recipe.model = golden_path("models/" + model);
  recipe.data = {folder / "rows.jsonl"};
  recipe.shuffle = recipe.packing = false;
  recipe.precision = DType::f32;
  recipe.seq_len = length;
  recipe.steps = golden.at("steps");
  recipe.eps = golden.value("eps", recipe.eps);
  recipe.lr = golden.at("lr");
  recipe.lr_schedule = LrScheduleKind::cosine;
  recipe.warmup_steps = golden.at("warmup_steps");
  recipe.grad_clip = golden.at("max_grad_norm");
  recipe.weight_decay = golden.value("weight_decay", 0.0);
  recipe.global_batch = accumulates ? 4 * rows : rows;
  recipe.micro_batch = cut == Cut::small ? 1 : rows;
  recipe.threads = 2;
  if (cut == Cut::small) {
    recipe.recompute = RecomputeMode::all;
    recipe.ce_chunk_rows = 5;
  }
  if (golden.contains("betas"))
    std::tie(recipe.beta1, recipe.beta2) = golden.at("betas").get<std::pair<double, double>>();
  if (method == "full-sgd-momentum") {
    recipe.optimizer = OptimizerKind::sgd;
    recipe.momentum = golden.at("momentum");
  } else if (method == "full-adam") {
    recipe.optimizer = OptimizerKind::adam;
    recipe.weight_decay = golden.at("adam_l2");
  }
  recipe.method = method == "dora"                           ? Method::dora
                  : method.find("lora") != std::string::npos ? Method::lora
                                                             : Method::full;
  if (method == "lora-plus") recipe.lora_plus_ratio = golden.at("loraplus_lr_ratio");
  if (trains_adapter(recipe.method)) recipe.adapter = golden_path(base + "/adapter_init");
  return recipe;
}

class TrainingParity : public testing::TestWithParam<std::tuple<std::pair<const char*, const char*>, Cut>> {};

TEST_P(TrainingParity, TwentySteps) {
  const auto& [name, cut] = GetParam();
  const std::string method = name.first, model = name.second, base = "training/" + method + "/" + model;
  const TestFolder folder;
  TrainOptions options;
  options.recipe = recipe_of(method, model, folder, cut);
  options.out = folder / "out";
  const TrainReport report = run_training(options);

  const auto want = read_steps(golden_path(base + "/steps.csv"));
  ASSERT_EQ(static_cast<int64_t>(want.size()), options.recipe.steps);
  std::ifstream metrics(options.out + "/metrics.jsonl");
  std::string line;
  for (const std::vector<double>& step : want) {
    ASSERT_TRUE(std::getline(metrics, line));
    const json got = json::parse(line);
    EXPECT_EQ(got.at("step"), static_cast<int64_t>(step.at(0)) + 1);
    EXPECT_NEAR(got.at("loss"), step.at(1), kLoss) << "step " << step.at(0);
    EXPECT_NEAR(got.at("lr"), step.at(2), kRate) << "step " << step.at(0);
    EXPECT_NEAR(got.at("grad_norm"), step.at(3), kNorm * step.at(3)) << "step " << step.at(0);
  }
  EXPECT_FALSE(std::getline(metrics, line));

  const bool full = !trains_adapter(options.recipe.method);
  const Golden final_weights(base + (full ? "/final.safetensors" : "/adapter_final/adapter_model.safetensors"));
  const TensorIndex weights =
      open_safetensors(report.output + (full ? "/model.safetensors" : "/adapter_model.safetensors"));
  EXPECT_EQ(weights.entries.size(), final_weights.names().size());
  for (const std::string& tensor : final_weights.names()) {
    std::vector<float> ours = read_tensor_as<float>(weights, tensor), theirs = final_weights.f32(tensor);
    ASSERT_EQ(ours.size(), theirs.size()) << tensor;
    // Softmax does not see a bias of GPT-2's keys: its gradient is zero in exact arithmetic, and Adam makes steps of
    // what rounding leaves.
    if (full && tensor.ends_with("c_attn.bias"))
      for (size_t i = ours.size() / 3; i < 2 * ours.size() / 3; ++i) ours[i] = theirs[i] = 0;
    EXPECT_LE(max_difference(ours, theirs), kWeights) << tensor;
  }
}

// fp16 skips the steps that PyTorch skips, where a gradient is more than fp16 holds, and follows its losses.
TEST(Fp16Parity, SkipsTheSameSteps) {
  const std::string base = "training/fp16-loss-scaling/llama_tied";
  const json golden = json::parse(read_bytes(golden_path(base + "/method.json")));
  for (const Cut cut : {Cut::whole, Cut::small}) {
    const TestFolder folder;
    TrainOptions options;
    options.recipe = recipe_of("fp16-loss-scaling", "llama_tied", folder, cut);
    options.recipe.precision = DType::f16;
    options.recipe.loss_scale = golden.at("init_scale");
    options.recipe.loss_scale_interval = golden.at("growth_interval");
    options.out = folder / "out";
    run_training(options);
    std::ifstream metrics(options.out + "/metrics.jsonl");
    std::string line;
    for (const std::vector<double>& step : read_steps(golden_path(base + "/steps.csv"))) {
      ASSERT_TRUE(std::getline(metrics, line));
      const json got = json::parse(line);
      EXPECT_NEAR(got.at("loss"), step.at(1), kFp16Loss) << "step " << step.at(0);
      EXPECT_NEAR(got.at("lr"), step.at(2), kRate) << "step " << step.at(0);
      EXPECT_EQ(got.at("loss_scale"), step.at(5)) << "step " << step.at(0);
      EXPECT_EQ(got.at("skipped"), step.at(6) == 1) << "step " << step.at(0);
    }
  }
}

constexpr std::pair<const char*, const char*> kRuns[] = {
    {"full-adamw", "llama_tied"},
    {"full-adamw", "qwen3"},
    {"full-sgd-momentum", "llama_tied"},
    {"full-sgd-momentum", "qwen3"},
    {"full-adam", "llama_tied"},
    {"grad-accumulation", "llama_tied"},
    {"lora", "llama_tied"},
    {"lora", "qwen3"},
    {"lora-subset", "llama_tied"},
    {"lora-subset", "qwen3"},
    {"rslora", "llama_tied"},
    {"rslora", "qwen3"},
    {"full-adamw", "gpt2"},
    {"full-sgd-momentum", "gpt2"},
    {"lora", "gpt2"},
    {"lora-subset", "gpt2"},
    {"rslora", "gpt2"},
    {"lora-plus", "llama_tied"},
    {"lora-plus", "qwen3"},
    {"lora-plus", "gpt2"},
    {"dora", "llama_tied"},
    {"dora", "qwen3"},
    {"dora", "gpt2"},
};

INSTANTIATE_TEST_SUITE_P(AllMethods, TrainingParity,
                         testing::Combine(testing::ValuesIn(kRuns), testing::Values(Cut::whole, Cut::small)),
                         [](const auto& info) {
                           const auto& run = std::get<0>(info.param);
                           std::string name = std::string(run.first) + "_" + run.second +
                                              (std::get<1>(info.param) == Cut::small ? "_small" : "");
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace plimsoll
