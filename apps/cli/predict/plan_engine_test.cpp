#include "cli/predict/plan_engine.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "engines/engine_profile.h"

namespace plimsoll::cli {
namespace {

Recipe recipe_of(Method method) {
  Recipe recipe;
  recipe.model = "llama-3.1-8b";
  recipe.method = method;
  return recipe;
}

EngineRun run_with(const Recipe& recipe, const std::string& engine, const std::string& layout = "") {
  EngineOptions options;
  options.engine = engine;
  options.layout = layout;
  return engine_run(recipe, options);
}

EngineRun run_of(const std::string& layout, const std::string& engine = "deepspeed") {
  return run_with(recipe_of(Method::full), engine, layout);
}

TEST(PlanEngine, WhatIsOffloadedAndWhere) {
  const EngineLayout states = run_of("dp=8,zero=3,offload=optimizer").layout;
  EXPECT_TRUE(states.offload_optimizer);
  EXPECT_FALSE(states.offload_parameters);
  EXPECT_EQ(states.offload_place, OffloadPlace::host);
  const EngineLayout weights = run_of("offload=params").layout;
  EXPECT_FALSE(weights.offload_optimizer);
  EXPECT_TRUE(weights.offload_parameters);
  const EngineLayout all = run_of("offload=all,offload_to=nvme").layout;
  EXPECT_TRUE(all.offload_optimizer && all.offload_parameters);
  EXPECT_EQ(all.offload_place, OffloadPlace::nvme);
}

TEST(PlanEngine, SettingsOfZero) {
  const ZeroSettings zero =
      run_of("dp=8,zero=3,live=2e8,reuse=0,prefetch=1e6,persist=10,bucket=3e8,subgroup=5").layout.zero;
  EXPECT_EQ(zero.max_live, 200'000'000);
  EXPECT_EQ(zero.reuse_distance, 0);
  EXPECT_EQ(zero.prefetch, 1'000'000);
  EXPECT_EQ(zero.persistence, 10);
  EXPECT_EQ(zero.reduce_bucket, 300'000'000);
  EXPECT_EQ(zero.sub_group, 5);
}

TEST(PlanEngine, StagesAndModules) {
  EXPECT_EQ(run_of("pp=4,stages=10+9+9+4", "megatron").layout.chunk_layers, (std::vector<int64_t>{10, 9, 9, 4}));
  EXPECT_EQ(run_of("pp=4,first=7,last=7", "megatron").layout.chunk_layers, (std::vector<int64_t>{7, 9, 9, 7}));
  const EngineRecipe recipe = run_of("again=core_attn+moe_act,mtp=1,defer=0", "megatron").recipe;
  EXPECT_EQ(recipe.recompute, RecomputeKind::selective);
  EXPECT_TRUE(recipe.modules.core_attn && recipe.modules.moe_act && !recipe.modules.mlp);
  EXPECT_EQ(recipe.further_tokens, 1);
  EXPECT_EQ(recipe.deferred_logits, 0);
  const EngineRecipe tune = run_of("torchtune=step_in_backward+offload_activations", "torchtune").recipe;
  EXPECT_TRUE(tune.step_in_backward && tune.offload_activations);
}

TEST(PlanEngine, WhatCountsForNothingIsRefused) {
  for (const char* bad : {"dp=8,dp=4", "dp=8,", "dp=8,zero=3,offload_to=nvme", "dp=8,zero=2,live=1e9"})
    EXPECT_THROW(run_of(bad), Error) << bad;
}

TEST(PlanEngine, WhatIsNoLayoutIsRefused) {
  for (const char* engine : {"deepspeed", "megatron", "torchtune"})
    for (const char* bad :
         {"dp", "dp=-1", "dp=1e9", "dp=1.5", "zero=4", "sp=2", "offload=1", "offload_to=tape", "again=all",
          "again=mlp+", "again=", "stages=a+b", "torchtune=fast", "pp=4,first=7", "pp=1,first=7",
          "pp=2,stages=16+16,first=3", "live=1e99", "vpp=1000000,pp=1000000,first=1", "pp=4,stages=8+8+8+7"})
      EXPECT_THROW(run_of(bad, engine), Error) << engine << " " << bad;
}

TEST(PlanEngine, KeysThatTheEngineDoesNotReadAreRefused) {
  for (const char* key : {"live=1", "reuse=1", "prefetch=1", "persist=1", "bucket=1", "subgroup=1"})
    for (const char* engine : {"fsdp2", "torch", "megatron"}) EXPECT_THROW(run_of(key, engine), Error) << key << engine;
  for (const char* key : {"again=mlp", "mtp=1", "defer=0", "tp=2", "ep=2", "sp=1", "torchtune=step_in_backward"})
    for (const char* engine : {"fsdp2", "torch", "deepspeed"})
      EXPECT_THROW(run_of(key, engine), Error) << key << engine;
  for (const char* engine : {"torch", "deepspeed"}) EXPECT_THROW(run_of("cp=2", engine), Error) << engine;
  EXPECT_EQ(run_of("dp=2,cp=4", "torchtitan").layout.devices(), 8);
  EXPECT_NO_THROW(run_of("dp=8,tp=1,pp=1,sp=0", "fsdp2"));
  EXPECT_NO_THROW(run_of("bucket=5", "megatron-deepspeed"));
  try {
    run_of("again=foo", "megatron");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.way_out()).find("shared_experts"), std::string::npos);
  }
}

TEST(PlanEngine, TheRecipesFlagsAreHonoured) {
  Recipe recipe = recipe_of(Method::qlora);
  EXPECT_EQ(run_with(recipe, "torch").recipe.weights, WeightFormat::nf4_double);
  recipe.quant = "int8";
  recipe.lora_dropout = 0.1;
  recipe.optimizer = OptimizerKind::adamw8bit;
  const EngineRecipe packed = run_with(recipe, "torch").recipe;
  EXPECT_EQ(packed.weights, WeightFormat::int8);
  EXPECT_EQ(packed.lora_dropout, 0.1);
  EXPECT_EQ(packed.optimizer, EngineOptimizer::adamw_8bit);
  recipe.optimizer = OptimizerKind::adafactor;
  EXPECT_EQ(run_with(recipe, "torch").recipe.optimizer, EngineOptimizer::adafactor);
  Recipe full = recipe_of(Method::full);
  full.precision = DType::f16;
  EXPECT_EQ(run_with(full, "torch").recipe.weights, WeightFormat::f16);
  // Under f32 masters: 4 bytes of a value, and two moments, one, or none.
  const auto states = [&](const char* engine, OptimizerKind kind, double momentum) {
    full.precision = DType::bf16;
    full.optimizer = kind;
    full.momentum = momentum;
    const bool megatron = std::string_view(engine) == "megatron";
    return estimate_engine_memory(run_with(full, engine, megatron ? "tp=8" : "dp=8,zero=3")).optimizer_state;
  };
  for (const char* engine : {"megatron", "deepspeed"}) {
    const auto none = static_cast<double>(states(engine, OptimizerKind::sgd, 0));
    EXPECT_NEAR(static_cast<double>(states(engine, OptimizerKind::sgd, 0.9)), 2 * none, 100) << engine;
    EXPECT_NEAR(static_cast<double>(states(engine, OptimizerKind::adamw, 0)), 3 * none, 100) << engine;
    EXPECT_NEAR(static_cast<double>(states(engine, OptimizerKind::adamw8bit, 0)), 1.5 * none, 100) << engine;
    EXPECT_THROW(states(engine, OptimizerKind::adafactor, 0), Error) << engine;
  }
}

TEST(PlanEngine, WhatOtherEnginesLackIsRefused) {
  const auto refused = [](auto&& change, const char* engine = "torch") {
    Recipe recipe = recipe_of(Method::qlora);
    change(recipe);
    EXPECT_THROW(run_with(recipe, engine), Error);
  };
  refused([](Recipe& r) { r.method = Method::dora; });
  refused([](Recipe& r) { r.method = Method::qat; });
  refused([](Recipe& r) { r.optimizer_state = DType::bf16; });
  for (const char* type : {"fp4", "fp8", "stored", "none", "q4_k"}) refused([&](Recipe& r) { r.quant = type; });
  refused([](Recipe& r) { r.recompute = RecomputeMode::layers; });
  refused([](Recipe& r) { r.recompute_keep = RecomputeKeep::attention; });
  refused([](Recipe& r) { r.stream = StreamMode::on; });
  refused([](Recipe& r) { r.ce_chunk_rows = 64; });
  refused([](Recipe& r) { r.optimizer_in_backward = true; });
  refused([](Recipe& r) { r.method = Method::full, r.master_weights = false; }, "deepspeed");
}

TEST(PlanEngine, ABatchThatFillsThePipeline) {
  EXPECT_EQ(run_of("dp=8,tp=4", "megatron").recipe.grad_accum_steps, 1);
  EXPECT_EQ(run_of("dp=8,tp=4,pp=4,zero=1", "megatron").recipe.grad_accum_steps, 8);
  EXPECT_EQ(run_of("dp=8,pp=4,vpp=2", "megatron").recipe.grad_accum_steps, 16);
  Recipe recipe = recipe_of(Method::full);
  recipe.global_batch = 64;
  EXPECT_EQ(run_with(recipe, "megatron", "dp=8,pp=4").recipe.grad_accum_steps, 8);
  recipe.global_batch = 4;
  EXPECT_THROW(run_with(recipe, "megatron", "dp=8,pp=4"), Error);
  recipe.global_batch = 20;
  EXPECT_THROW(run_with(recipe, "deepspeed", "dp=8"), Error);
}

TEST(PlanEngine, FsdpCutsWeightsUnlessToldOtherwise) {
  for (const char* engine : {"fsdp", "fsdp2", "torchtitan"}) EXPECT_EQ(run_of("dp=8", engine).layout.zero_stage, 3);
  EXPECT_EQ(run_of("dp=8,zero=0", "fsdp2").layout.zero_stage, 0);
  EXPECT_EQ(run_of("dp=8,zero=2", "fsdp2").layout.zero_stage, 2);
  EXPECT_EQ(run_of("", "fsdp2").layout.zero_stage, 0);
  EXPECT_EQ(run_of("dp=8", "deepspeed").layout.zero_stage, 0);
}

}  // namespace
}  // namespace plimsoll::cli
