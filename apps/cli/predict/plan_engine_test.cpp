#include "cli/predict/plan_engine.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll::cli {
namespace {

EngineRun run_of(const std::string& layout) {
  Recipe recipe;
  recipe.model = "llama-3.1-8b";
  recipe.method = Method::full;
  EngineOptions options;
  options.engine = "deepspeed";
  options.layout = layout;
  return engine_run(recipe, options);
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
  const ZeroSettings zero = run_of("live=2e8,reuse=0,prefetch=1e6,persist=10,bucket=3e8,subgroup=5").layout.zero;
  EXPECT_EQ(zero.max_live, 200'000'000);
  EXPECT_EQ(zero.reuse_distance, 0);
  EXPECT_EQ(zero.prefetch, 1'000'000);
  EXPECT_EQ(zero.persistence, 10);
  EXPECT_EQ(zero.reduce_bucket, 300'000'000);
  EXPECT_EQ(zero.sub_group, 5);
}

TEST(PlanEngine, StagesAndModules) {
  EXPECT_EQ(run_of("pp=4,stages=10+9+9+4").layout.chunk_layers, (std::vector<int64_t>{10, 9, 9, 4}));
  EXPECT_EQ(run_of("pp=4,first=7,last=7").layout.chunk_layers, (std::vector<int64_t>{7, 9, 9, 7}));
  const EngineRecipe recipe = run_of("again=core_attn+moe_act,mtp=1,defer=0").recipe;
  EXPECT_EQ(recipe.recompute, RecomputeKind::selective);
  EXPECT_TRUE(recipe.modules.core_attn && recipe.modules.moe_act && !recipe.modules.mlp);
  EXPECT_EQ(recipe.further_tokens, 1);
  EXPECT_EQ(recipe.deferred_logits, 0);
  const EngineRecipe tune = run_of("torchtune=step_in_backward+offload_activations").recipe;
  EXPECT_TRUE(tune.step_in_backward && tune.offload_activations);
}

TEST(PlanEngine, WhatIsNoLayoutIsRefused) {
  for (const char* bad : {"dp", "dp=-1", "dp=1e9", "dp=1.5", "zero=4", "sp=2", "offload=1", "offload_to=tape",
                          "again=all", "again=mlp+", "again=", "stages=a+b", "torchtune=fast", "pp=4,first=7",
                          "pp=1,first=7", "pp=2,stages=16+16,first=3", "live=1e99", "vpp=1000000,pp=1000000,first=1"})
    EXPECT_THROW(run_of(bad), Error) << bad;
}

}  // namespace
}  // namespace plimsoll::cli
