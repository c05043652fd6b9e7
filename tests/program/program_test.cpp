// Whole steps of small random models through graph, passes, plan and CPU: what must not change the numbers, and does
// not.
#include <gtest/gtest.h>

#include <map>

#include "arch/architecture.h"
#include "compile/train_program.h"
#include "formats/peft.h"
#include "passes/autodiff.h"
#include "support/graph_runner.h"
#include "support/numbers.h"
#include "support/tensor_files.h"

namespace plimsoll {
namespace {

constexpr int64_t kBatch = 2, kLength = 24;

ModelConfig small_model(const std::string& architecture) {
  ModelConfig config;
  config.architecture = architecture;
  config.vocab_size = 131;
  config.hidden_size = 48;
  config.intermediate_size = 80;
  config.layers = 3;
  config.heads = 6;
  config.kv_heads = 2;
  config.head_dim = architecture == "qwen3" ? 16 : 8;
  config.context_length = 64;
  config.tied_embeddings = architecture == "llama";
  config.attention_bias = architecture == "qwen2";
  if (architecture == "mistral") {
    config.sliding_window = 5;
    config.layer_slides = {true, true, true};
  }
  return config;
}

Recipe recipe_of(Method method, DType precision) {
  Recipe recipe;
  recipe.method = method;
  recipe.precision = precision;
  recipe.seq_len = kLength;
  recipe.rank = 4;
  recipe.alpha = 12;
  return recipe;
}

unsigned seed_of(const std::string& name) {  // the same numbers for a name in every graph
  unsigned hash = 2166136261U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

std::vector<float> weights_of(const Value& value) {
  const bool norm = value.shape.rank() == 1 && value.name.find("norm") != std::string::npos;
  std::vector<float> values =
      random_values(static_cast<size_t>(value.shape.elements()), seed_of(value.name), norm ? 0.2F : 0.15F);
  for (float& number : values) number += norm ? 1.0F : 0.0F;
  return values;
}

std::vector<float> small_ints(int64_t count, unsigned seed, int64_t below) {
  std::vector<float> values;
  std::mt19937 engine(seed);
  for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(engine() % static_cast<unsigned>(below)));
  return values;
}

// Two documents and padding in row 0, one document in row 1; every third label is ignored.
void set_inputs(GraphRunner& runner, const ModelConfig& config) {
  const int64_t count = kBatch * kLength;
  std::vector<float> positions, segments, starts, labels = small_ints(count, 3, config.vocab_size);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t t = i % kLength, split = i < kLength ? 9 : 0;
    const bool padding = i < kLength && t >= 20;
    positions.push_back(static_cast<float>(t < split ? t : t - split));
    segments.push_back(padding ? -1.0F : t < split ? 0.0F : 1.0F);
    starts.push_back(static_cast<float>(padding ? t : t < split ? 0 : split));
    if (padding || i % 3 == 0) labels[static_cast<size_t>(i)] = -100;
  }
  runner.set(input_names::kIds, small_ints(count, 2, config.vocab_size));
  runner.set(input_names::kPositions, positions);
  runner.set(input_names::kSegments, segments);
  runner.set(input_names::kSegmentStart, starts);
  runner.set(input_names::kLabels, labels);
  runner.set(input_names::kLossScale, {1.0F / 20});
}

struct Outcome {
  std::vector<float> loss;
  std::vector<std::pair<std::string, std::vector<float>>> gradients;
  bool operator==(const Outcome&) const = default;

  const std::vector<float>& gradient(const std::string& parameter) const {
    for (const auto& [name, values] : gradients)
      if (name == gradient_name(parameter)) return values;
    throw std::runtime_error("no gradient of " + parameter);
  }
};

using Weights = std::function<std::vector<float>(const Value&)>;

Outcome run_step(const ModelConfig& config, const StepBase& base, const TrainChoices& choices, int threads,
                 const Weights& weights = weights_of, int rounds = 1) {
  GraphRunner runner({build_step(base, choices)}, threads);
  const Graph& graph = runner.plan().phases[0].graph;
  for (const Value& value : graph.values) {
    if (value.kind == ValueKind::parameter || value.kind == ValueKind::adapter) runner.set(value.name, weights(value));
    if (value.kind == ValueKind::gradient)
      runner.set(value.name, std::vector<float>(static_cast<size_t>(value.shape.elements()), 0.0F));
  }
  runner.set(input_names::kInvFreq, base.inv_freq);
  for (int round = 0; round < rounds; ++round) {
    set_inputs(runner, config);
    runner.run();
  }
  Outcome outcome;
  outcome.loss = runner.get(graph.outputs.at(0));
  for (const Value& value : graph.values)
    if (value.kind == ValueKind::gradient) outcome.gradients.emplace_back(value.name, runner.get(value.name));
  return outcome;
}

class ProgramTest : public testing::TestWithParam<std::tuple<std::string, Method, DType>> {
 protected:
  ModelConfig config_ = small_model(std::get<0>(GetParam()));
  StepBase base_ = build_step_base(config_, recipe_of(std::get<1>(GetParam()), std::get<2>(GetParam())), {}, kBatch);
};

TEST_P(ProgramTest, RecomputeChangesNoBit) {
  const Outcome kept = run_step(config_, base_, {kBatch, 0, 16}, 2);
  ASSERT_GT(kept.loss[0], 1.0F);
  ASSERT_GT(kept.gradients.size(), 10U);
  for (const auto& [name, values] : kept.gradients) ASSERT_GT(max_abs(values), 0.0) << name;
  for (int64_t layers = 1; layers <= config_.layers; ++layers)
    EXPECT_TRUE(run_step(config_, base_, {kBatch, layers, 16}, 2) == kept) << layers;
}

TEST_P(ProgramTest, KeepingAttentionChangesNoBit) {
  TrainChoices choices{kBatch, config_.layers, 16};
  const Outcome again = run_step(config_, base_, choices, 2);
  choices.keep_attention = true;
  for (const Op& op : build_step(base_, choices).ops)
    EXPECT_FALSE(op.role == OpRole::recompute && op.kind == OpKind::attention) << op.name;
  EXPECT_TRUE(run_step(config_, base_, choices, 2) == again);
}

// Each layer's input but those that are soon needed again goes to disk once and comes back once, in this order: begin
// of the write, its end, begin of the read, its end, use. Nothing else of it is used in between.
TEST(StreamInputs, EachGoesOutAndComesBack) {
  ModelConfig deep = small_model("llama");
  deep.layers = 8;
  deep.hidden_size = 96, deep.head_dim = 16;
  const StepBase base = build_step_base(deep, recipe_of(Method::lora, DType::f32), {}, kBatch);
  TrainChoices choices{kBatch, deep.layers, 16};
  choices.streamed_inputs = true;
  const Graph step = build_step(base, choices);
  std::map<std::string, std::vector<std::string>> story;  // of each tensor
  std::map<ValueId, std::string> places;
  for (const Op& op : step.ops) {
    if (op.kind == OpKind::offload_tensor || op.kind == OpKind::prefetch_tensor) {
      const std::string& tensor = op.attributes<TransferAttrs>().tensor;
      places[op.kind == OpKind::offload_tensor ? op.operands[0] : op.results[0]] = tensor;
      story[tensor].emplace_back(op.kind == OpKind::offload_tensor ? "write" : "read");
      continue;
    }
    for (const ValueId id : op.operands)
      if (const auto found = places.find(id); found != places.end()) {
        std::vector<std::string>& told = story[found->second];
        const std::string event = op.kind == OpKind::await_tensors ? "await" : "use";
        if (told.back() != "use" || event != "use") told.push_back(event);
      }
  }
  EXPECT_EQ(story.size(), static_cast<size_t>(deep.layers) - 1) << "the last layer's is needed at once";
  for (const auto& [tensor, told] : story)
    EXPECT_EQ(told, (std::vector<std::string>{"write", "await", "read", "await", "use"})) << tensor;
  EXPECT_EQ(offloaded_tensors(step).size(), story.size());
}

TEST_P(ProgramTest, RecomputeMakesEveryLayerAgainOnce) {
  for (int64_t layers = 0; layers <= config_.layers; ++layers) {
    const Graph step = build_step(base_, {kBatch, layers, 16});
    std::vector<int64_t> again(static_cast<size_t>(config_.layers), 0);
    for (const Op& op : step.ops) {
      if (op.role != OpRole::recompute) continue;
      if (op.kind == OpKind::attention) ++again.at(static_cast<size_t>(op.layer));
      EXPECT_EQ(op.name.find("mlp_residual"), std::string::npos) << op.name << ": a layer's input is kept";
    }
    for (int64_t layer = 0; layer < config_.layers; ++layer)
      EXPECT_EQ(again[static_cast<size_t>(layer)], layer < layers ? 1 : 0) << layer << " of " << layers;
  }
}

TEST_P(ProgramTest, ThreadsChangeNoBit) {
  const Outcome one = run_step(config_, base_, {kBatch, 1, 16}, 1);
  EXPECT_TRUE(run_step(config_, base_, {kBatch, 1, 16}, 2) == one);
  EXPECT_TRUE(run_step(config_, base_, {kBatch, 1, 16}, 3) == one);
}

TEST_P(ProgramTest, ChunksOfTheLossChangeRoundingOnly) {
  const double tolerance = std::get<2>(GetParam()) == DType::f32 ? 5e-6 : 2e-2;
  const Outcome whole = run_step(config_, base_, {kBatch, 0, kBatch * kLength}, 2);
  for (const int64_t chunk : {1, 7, 32}) {
    const Outcome cut = run_step(config_, base_, {kBatch, 0, chunk}, 2);
    EXPECT_NEAR(cut.loss[0], whole.loss[0], 1e-5 * whole.loss[0]);
    for (size_t i = 0; i < whole.gradients.size(); ++i)
      expect_close(cut.gradients[i].second, whole.gradients[i].second, tolerance, whole.gradients[i].first.c_str());
  }
}

TEST_P(ProgramTest, GradientsAddUpOverMicroBatches) {
  const Outcome once = run_step(config_, base_, {kBatch, 0, 16}, 2);
  const Outcome twice = run_step(config_, base_, {kBatch, 0, 16}, 2, weights_of, 2);
  for (size_t i = 0; i < once.gradients.size(); ++i) {
    std::vector<float> doubled = once.gradients[i].second;
    for (float& value : doubled) value *= 2;
    expect_close(twice.gradients[i].second, doubled, 5e-6, once.gradients[i].first.c_str());
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ProgramTest,
                         testing::Combine(testing::Values("llama", "mistral", "qwen2", "qwen3"),
                                          testing::Values(Method::full, Method::lora),
                                          testing::Values(DType::f32, DType::bf16)),
                         [](const auto& info) {
                           return std::get<0>(info.param) +
                                  (std::get<1>(info.param) == Method::full ? "_full" : "_lora") +
                                  (std::get<2>(info.param) == DType::f32 ? "_f32" : "_bf16");
                         });

// out (N, K) = a · x (N, R) y (R, K)
std::vector<float> product(double a, const std::vector<float>& x, const std::vector<float>& y, size_t n, size_t r,
                           size_t k, bool transpose_x, bool transpose_y) {
  std::vector<float> out;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < k; ++j) {
      double sum = 0;
      for (size_t l = 0; l < r; ++l)
        sum += static_cast<double>(transpose_x ? x[l * n + i] : x[i * r + l]) *
               static_cast<double>(transpose_y ? y[j * r + l] : y[l * k + j]);
      out.push_back(static_cast<float>(a * sum));
    }
  }
  return out;
}

// An adapter is the weight W + s B A: the same loss, and gradients s Bᵀ dW and s dW Aᵀ of the gradient dW of that
// weight.
TEST(Lora, IsTheMergedWeightAndItsGradient) {
  const ModelConfig config = small_model("qwen3");
  for (const bool rslora : {false, true}) {
    Recipe recipe = recipe_of(Method::lora, DType::f32);
    recipe.rslora = rslora;
    const double scale = rslora ? 12.0 / 2 : 12.0 / 4;
    const StepBase adapted = build_step_base(config, recipe, {}, kBatch);
    EXPECT_EQ(adapted.lora.size(), static_cast<size_t>(config.layers) * 7);
    const StepBase full = build_step_base(config, recipe_of(Method::full, DType::f32), {}, kBatch);
    const auto small = [](const Value& value) {  // adapters a tenth of the rest
      std::vector<float> values = weights_of(value);
      for (float& number : values) number *= value.kind == ValueKind::adapter ? 0.1F : 1.0F;
      return values;
    };
    const auto matrix = [&](const std::string& name, Shape shape) {
      return small({name, DType::f32, std::move(shape), ValueKind::adapter});
    };
    const Outcome with_adapter = run_step(config, adapted, {kBatch, 0, 16}, 2, small);
    const Outcome merged = run_step(config, full, {kBatch, 0, 16}, 2, [&](const Value& value) {
      std::vector<float> values = weights_of(value);
      for (const LoraModule& module : adapted.lora) {
        if (module.path + ".weight" != value.name) continue;
        const auto n = static_cast<size_t>(value.shape[0]), k = static_cast<size_t>(value.shape[1]);
        const std::vector<float> delta =
            product(scale, matrix(peft_tensor_name(module.path, 'B'), {value.shape[0], 4}),
                    matrix(peft_tensor_name(module.path, 'A'), {4, value.shape[1]}), n, 4, k, false, false);
        for (size_t i = 0; i < values.size(); ++i) values[i] += delta[i];
      }
      return values;
    });
    EXPECT_NEAR(with_adapter.loss[0], merged.loss[0], 1e-5);
    for (const LoraModule& module : adapted.lora) {
      const std::vector<float>& gradient = merged.gradient(module.path + ".weight");
      const auto a_size = with_adapter.gradient(peft_tensor_name(module.path, 'A')).size(),
                 b_size = with_adapter.gradient(peft_tensor_name(module.path, 'B')).size();
      const size_t k = a_size / 4, n = b_size / 4;
      const auto a = matrix(peft_tensor_name(module.path, 'A'), {4, static_cast<int64_t>(k)}),
                 b = matrix(peft_tensor_name(module.path, 'B'), {static_cast<int64_t>(n), 4});
      expect_close(with_adapter.gradient(peft_tensor_name(module.path, 'A')),
                   product(scale, b, gradient, 4, n, k, true, false), 2e-5, module.path.c_str());
      expect_close(with_adapter.gradient(peft_tensor_name(module.path, 'B')),
                   product(scale, gradient, a, n, k, 4, false, true), 2e-5, module.path.c_str());
    }
  }
}

TEST(Lora, FrozenWeightsGetNoBackwardOps) {
  const ModelConfig config = small_model("llama");
  Recipe recipe = recipe_of(Method::lora, DType::bf16);
  recipe.targets = "q_proj,v_proj";
  const StepBase base = build_step_base(config, recipe, {}, 1);
  EXPECT_EQ(base.lora.size(), static_cast<size_t>(config.layers) * 2);
  for (const Value& value : base.step.values)
    EXPECT_TRUE(value.kind != ValueKind::gradient || value.name.find("lora_") != std::string::npos) << value.name;
  // Below the first adapter nothing needs a gradient: its layer has no gradient through the first norm.
  for (const Op& op : base.step.ops) {
    EXPECT_NE(op.kind, OpKind::embedding_grad);
    EXPECT_FALSE(op.layer == 0 && op.kind == OpKind::rms_norm_grad &&
                 op.name.find("input_layernorm") != std::string::npos)
        << op.name;
  }
  recipe.targets = "q_proj,nothing";
  expect_caller_error([&] { build_step_base(config, recipe, {}, 1); }, "'nothing'");
}

}  // namespace
}  // namespace plimsoll
