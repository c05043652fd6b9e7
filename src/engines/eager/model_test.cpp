// What autograd keeps of one layer, against the formulas that reproduce PyTorch's saved tensors to the byte (bytes per
// token; h hidden, q and kv widths, H heads, i intermediate, r rank).
#include "engines/eager/model.h"

#include <gtest/gtest.h>

#include "engines/eager/train_step.h"

namespace plimsoll::eager {
namespace {

constexpr int64_t kTokens = 1536;

ModelConfig llama_8b(int64_t layers) {
  ModelConfig c;
  c.architecture = "llama";
  c.vocab_size = 128256;
  c.hidden_size = 4096;
  c.intermediate_size = 14336;
  c.layers = layers;
  c.heads = 32;
  c.kv_heads = 8;
  c.head_dim = 128;
  c.context_length = 8192;
  return c;
}

// Bytes that live when the backward pass of the second step begins, states and all.
int64_t end_of_forward(int64_t layers, const EngineRecipe& recipe) {
  const StepTrace trace = trace_training(llama_8b(layers), recipe);
  int64_t live = 0;
  for (size_t i = 0; i < trace.log.events.size(); ++i) {
    const Event& event = trace.log.events[i];
    if (i > trace.measured_from && trace.log.marks[static_cast<size_t>(event.mark)].starts_with("backward"))
      return live;
    live += event.bytes;
  }
  return -1;
}

// Of a layer's activations alone: the third minus what its parameters and states take.
int64_t kept_by_a_layer(const EngineRecipe& recipe) {
  const auto states = [&](int64_t layers) {
    const StepTrace trace = trace_training(llama_8b(layers), recipe);
    int64_t live = 0;
    for (size_t i = 0; i < trace.measured_from; ++i) live += trace.log.events[i].bytes;
    return live;
  };
  return end_of_forward(3, recipe) - end_of_forward(2, recipe) - (states(3) - states(2));
}

EngineRecipe recipe_of(TuneMethod method) {
  EngineRecipe r;
  r.method = method;
  r.micro_batch = 1;
  r.seq_len = kTokens;
  if (method != TuneMethod::full) {
    r.lora_rank = 16;
    r.lora_targets = {"all-linear"};
  }
  if (method == TuneMethod::qlora) r.weights = WeightFormat::nf4_double;
  return r;
}

constexpr int64_t kRng = 24;  // two tensors of the random numbers' state, of each attention

TEST(EagerModel, FullTuning) { EXPECT_EQ(kept_by_a_layer(recipe_of(TuneMethod::full)), 200840 * kTokens + kRng); }

TEST(EagerModel, FullTuningUnderAutocastKeepsCopiesOfWeights) {
  EngineRecipe r = recipe_of(TuneMethod::full);
  r.weights = WeightFormat::f32;
  r.compute = ComputeMode::amp_bf16;
  EXPECT_EQ(kept_by_a_layer(r), 241800 * kTokens + 436207616 + kRng);
}

TEST(EagerModel, Lora) { EXPECT_EQ(kept_by_a_layer(recipe_of(TuneMethod::lora)), 295496 * kTokens + kRng); }

TEST(EagerModel, LoraWithDropoutKeepsMasks) {
  EngineRecipe r = recipe_of(TuneMethod::lora);
  r.lora_dropout = 0.05;
  EXPECT_EQ(kept_by_a_layer(r), 334408 * kTokens + kRng);
}

TEST(EagerModel, LoraWithAdaptersInHalfPrecision) {
  EngineRecipe r = recipe_of(TuneMethod::lora);
  r.adapter_f32 = false;
  EXPECT_EQ(kept_by_a_layer(r), 184680 * kTokens + kRng);
}

TEST(EagerModel, LoraUnderAutocast) {
  EngineRecipe r = recipe_of(TuneMethod::lora);
  r.compute = ComputeMode::amp_bf16;
  EXPECT_EQ(kept_by_a_layer(r), 217448 * kTokens + 2621440 + kRng);
}

TEST(EagerModel, LoraOfTwoTargets) {
  EngineRecipe r = recipe_of(TuneMethod::lora);
  r.lora_targets = {"q_proj", "v_proj"};
  EXPECT_EQ(kept_by_a_layer(r), 172296 * kTokens + kRng);
}

TEST(EagerModel, QuantizedWeightsAreNotKept) {
  EXPECT_EQ(kept_by_a_layer(recipe_of(TuneMethod::qlora)), 295496 * kTokens + kRng);
}

TEST(EagerModel, PreparedForKbitTraining) {
  EngineRecipe r = recipe_of(TuneMethod::qlora);
  r.kbit_preparation = true;
  r.compute = ComputeMode::amp_bf16;
  EXPECT_EQ(kept_by_a_layer(r), 295272 * kTokens + 2621440 + kRng);
}

TEST(EagerModel, ARecomputedLayerKeepsItsInput) {
  EngineRecipe r = recipe_of(TuneMethod::full);
  r.recompute = RecomputeKind::full;
  EXPECT_EQ(kept_by_a_layer(r), 8192 * kTokens);
}

}  // namespace
}  // namespace plimsoll::eager
