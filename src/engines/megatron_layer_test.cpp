// Layers of Megatron-Core by hand: n = 4096 tokens of h = 1024, in bytes.
#include "engines/megatron_layer.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "engines/engine_profile.h"

namespace plimsoll {
namespace {

constexpr double kN = 4096, kH = 1024, kWide = 4096, kHeads = 16;

EngineRun run_of(bool gated = true) {
  EngineRun run;
  run.engine = "Megatron-Core";
  ModelConfig& c = run.model;
  c.architecture = gated ? "llama" : "megatron_gpt";
  c.vocab_size = 50304;
  c.hidden_size = 1024;
  c.intermediate_size = 4096;
  c.layers = 8;
  c.heads = c.kv_heads = 16;
  c.head_dim = 64;
  c.context_length = 2048;
  run.recipe.micro_batch = 2;
  run.recipe.seq_len = 2048;
  run.recipe.grad_accum_steps = 8;
  return run;
}

MegatronLayerBytes layer(const EngineRun& run) { return megatron_layer_bytes(run, stack_memory(run.engine), 0); }
int64_t bytes(const EngineRun& run) { return estimate_engine_memory(run).allocated.bytes; }

void again(EngineRun& run, std::initializer_list<std::string_view> modules) {
  run.recipe.recompute = RecomputeKind::selective;
  run.recipe.modules = {};
  for (const std::string_view name : modules) ASSERT_TRUE(set_recompute_module(run.recipe.modules, name)) << name;
}

void mixture(EngineRun& run) {
  run.model.mixture.experts = 8;
  run.model.mixture.chosen = 2;
  run.model.mixture.width = 512;
}

TEST(MegatronLayer, ModulesThatAreComputedAgainKeepNothing) {
  EngineRun run = run_of();
  const double all = layer(run).kept;
  const auto saved = [&](std::initializer_list<std::string_view> modules) {
    again(run, modules);
    const MegatronLayerBytes bytes = layer(run);
    EXPECT_EQ(bytes.kept + bytes.again, all);
    return all - bytes.kept;
  };
  EXPECT_EQ(saved({"core_attn"}), 4 * kN * kHeads);  // a number a row and head
  EXPECT_EQ(saved({"mlp"}), 2 * 3 * kN * kWide);     // gate, up and their product
  EXPECT_EQ(saved({"layernorm"}), 2 * 2 * kN * kH);  // what both norms give
  // The MLP is computed from its norm's result, which then stays.
  EXPECT_EQ(saved({"mlp", "layernorm"}), 2 * 3 * kN * kWide + 2 * kN * kH);
  EXPECT_EQ(saved({"moe", "moe_act", "shared_experts", "mla_up_proj"}), 0);  // not in this layer
  EXPECT_FALSE(set_recompute_module(run.recipe.modules, "everything"));
  run.recipe.recompute = RecomputeKind::full;
  EXPECT_EQ(layer(run).kept, 2 * kN * kH);
}

TEST(MegatronLayer, ScoresThatAreWrittenAreCoreAttention) {
  EngineRun run = run_of();
  run.recipe.attention = AttentionKernel::math;
  const double written = layer(run).kept;
  again(run, {});  // Megatron's default
  EXPECT_EQ(written - layer(run).kept, 2 * kHeads * kN * 2048);
}

TEST(MegatronLayer, LatentAttentionComputesItsUpProjectionsAgain) {
  EngineRun run = run_of();
  run.model.latent = {512, 1536, 128, 64, 128};
  const double all = layer(run).kept;
  again(run, {"mla_up_proj"});
  EXPECT_EQ(all - layer(run).kept, 2 * kN * kHeads * (2 * 192 + 128));  // queries, keys, values
}

// Two experts a token of 512: copies going in and coming back, first result and activation.
TEST(MegatronLayer, Experts) {
  EngineRun gated = run_of(), plain = run_of(false);
  mixture(gated), mixture(plain);
  const double dense = layer(run_of()).kept - 2 * 3 * kN * kWide;
  const double copies = 2 * kN, router = 4 * kN * 8;
  EXPECT_EQ(layer(gated).kept, dense + copies * 2 * (2 * kH + 3 * 512) + router);
  // Without a gate the router's weight makes one tensor more.
  EXPECT_EQ(layer(plain).kept, dense + copies * 2 * (2 * kH + 3 * 512) + router);
  // Each of two tensor ranks has half the tokens; experts that are not cut see their copies only.
  gated.layout.tensor = 2;
  gated.layout.sequence_parallel = true;
  gated.layout.expert_tensor = 1;
  const double uncut = layer(gated).kept;
  gated.layout.expert_tensor = 2;
  EXPECT_EQ(layer(gated).kept - uncut, copies / 2 * 2 * kH);  // gathered over both
  again(gated, {"moe"});
  const double norm_result = 2 * kN * kH / 2;
  EXPECT_EQ(layer(gated).kept, dense / 2 + router / 2);
  again(gated, {"moe", "layernorm"});
  EXPECT_EQ(layer(gated).kept, dense / 2 + router / 2 - norm_result);  // the first norm's only
  gated.recipe.recompute = RecomputeKind::none;
  const double kept = layer(gated).kept;
  again(gated, {"moe_act"});
  EXPECT_EQ(kept - layer(gated).kept, copies * 2 * 512 / 2);
}

TEST(MegatronProfile, GroupedProductsHaveWorkspaces) {
  EngineRun run = run_of();
  mixture(run);
  const int64_t grouped = bytes(run);
  run.recipe.grouped_experts = false;
  EXPECT_EQ(grouped - bytes(run), 4 * (int64_t{32} << 20));
}

TEST(MegatronProfile, StagesOfAnotherDepth) {
  EngineRun run = run_of();
  run.layout.pipeline = 4;
  run.layout.stage = 3;
  const int64_t even = bytes(run);
  run.layout.chunk_layers = {3, 2, 2, 1};
  const MegatronParameters p = megatron_parameters(run.model, run.recipe, 0);
  EXPECT_NEAR(static_cast<double>(even - bytes(run)), layer(run).kept + 18 * (p.dense + p.replicated), 2);
}

// A layer, a product that joins two vectors, three norms, logits of its own, and a copy of the embedding where it is
// not on the stage.
TEST(MegatronProfile, ALayerForAFurtherToken) {
  EngineRun run = run_of();
  const int64_t before = bytes(run);
  run.recipe.further_tokens = 1;
  const MegatronParameters p = megatron_parameters(run.model, run.recipe, 0);
  const double parameters = p.dense + p.replicated + 2 * kH * kH + 3 * kH;
  EXPECT_NEAR(static_cast<double>(bytes(run) - before),
              18 * parameters + layer(run).kept + 4 * kN * 50304 + 4 * 2 * kN * kH, 4);
}

TEST(MegatronProfile, GradientsOfLogitsThatWait) {
  EngineRun run = run_of();
  const int64_t at_once = bytes(run);
  run.recipe.deferred_logits = 2;
  EXPECT_NEAR(static_cast<double>(bytes(run) - at_once), 2 * 2 * (kN * 50304 + kN * kH), 2);
  run.recipe.deferred_logits = 0;  // all of eight, the last of which is at work
  EXPECT_NEAR(static_cast<double>(bytes(run) - at_once), 7 * 2 * (kN * 50304 + kN * kH), 2);
}

TEST(MegatronProfile, AdaptersUnderTensorCuts) {
  EngineRun run = run_of();
  run.layout.tensor = 2;
  run.recipe.method = TuneMethod::lora;
  run.recipe.lora_rank = 8;
  run.recipe.lora_targets = {"all-linear"};
  const EngineMemory memory = estimate_engine_memory(run);
  const double adapters = 8 * 8 * ((kH + 3 * kH) + (kH + kH) + (kH + 2 * kWide) + (kWide + kH)) / 2;
  const double base = 8 * (4 * kH * kH + 3 * kH * kWide) / 2 + 8 * 2 * kH + 2 * 50304 * kH / 2;
  EXPECT_NEAR(static_cast<double>(memory.parameters), 2 * (base + adapters), 2);
  EXPECT_NEAR(static_cast<double>(memory.gradients), 4 * adapters, 2);
  EXPECT_NEAR(static_cast<double>(memory.optimizer_state), 12 * adapters, 2);
  // A frozen product without an adapter needs no input: what goes into qkv and up, and what the gate gives to down.
  const double all = layer(run).kept;
  run.recipe.lora_targets = {"o_proj"};
  EXPECT_EQ(all - layer(run).kept, 2 * (2 * kN * kH) + 2 * kN * kWide / 2 + 3 * 2 * kN * 8);
  // Four bits and a scale for 64 values; what is outside of layers has sixteen bits.
  run.recipe.lora_targets = {"all-linear"};
  run.recipe.method = TuneMethod::qlora;
  run.recipe.weights = WeightFormat::nf4;
  const double ends = 2 * 50304 * kH / 2;
  EXPECT_NEAR(static_cast<double>(estimate_engine_memory(run).parameters),
              4.5 / 8 * (base - ends) + 2 * ends + 2 * adapters, 2);
}

// Megatron-FSDP: a rank's part, two layers gathered, or what is in no layer where that is more.
TEST(MegatronProfile, ShardedWeightsAndGradients) {
  EngineRun run = run_of();
  run.layout.data = 4;
  run.layout.tensor = 2;
  run.layout.zero_stage = 1;
  const EngineMemory one = estimate_engine_memory(run);
  run.layout.zero_stage = 2;
  const EngineMemory two = estimate_engine_memory(run);
  run.layout.zero_stage = 3;
  const EngineMemory three = estimate_engine_memory(run);
  const double ends = 2 * 50304 * kH / 2;
  EXPECT_EQ(two.parameters, one.parameters);
  EXPECT_NEAR(static_cast<double>(two.gradients), static_cast<double>(one.gradients) / 4, 2);
  EXPECT_NEAR(static_cast<double>(three.parameters), static_cast<double>(one.parameters) / 4, 2);
  EXPECT_NEAR(static_cast<double>(two.activations - one.activations), 4 * ends, 2);
  EXPECT_NEAR(static_cast<double>(three.activations - one.activations), 6 * ends, 2);
}

TEST(MegatronProfile, StatesOnTheHost) {
  EngineRun run = run_of();
  const EngineMemory before = estimate_engine_memory(run);
  run.layout.offload_optimizer = true;
  const EngineMemory after = estimate_engine_memory(run);
  EXPECT_EQ(after.allocated.bytes, before.allocated.bytes - before.optimizer_state);
  EXPECT_EQ(after.host_bytes, before.optimizer_state + before.gradients);
  run.layout.offload_parameters = true;
  EXPECT_THROW(estimate_engine_memory(run), Error);
}

}  // namespace
}  // namespace plimsoll
