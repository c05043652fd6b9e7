#include "compile/choose_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/bytes.h"
#include "support/tiny_config.h"

namespace plimsoll {
namespace {

constexpr int64_t kPage = 4096;

ModelConfig small_llama() {
  ModelConfig config = tiny_llama();
  config.vocab_size = 1000;
  config.layers = 4;
  config.context_length = 256;
  return config;
}

Recipe small_recipe() {
  Recipe recipe;
  recipe.seq_len = 64;
  recipe.rank = 4;
  recipe.alpha = 8;
  recipe.global_batch = 4;
  return recipe;
}

// Scratch of about the real shape: a chunk of logits for the loss, some rows for matmuls.
PlanTarget target() {
  PlanTarget target;
  target.workspace_bytes = [](const Graph& graph, const Op& op) -> int64_t {
    if (const auto* loss = std::get_if<CrossEntropyAttrs>(&op.attrs))
      return loss->chunk_rows * graph.value(op.operands[1]).shape[0] * 4;
    return op.kind == OpKind::linear ? 10000 : 0;
  };
  target.runtime_overhead_bytes = 5 * kMiB + 123;
  target.flops_per_second = 1e11;
  target.bytes_per_second = 1e10;
  return target;
}

TrainPlan plan(const Recipe& recipe) {
  TrainSources sources;
  sources.load_staging_bytes = 64 * kKiB;  // so that the train step is the peak, where choices count
  return choose_plan(small_llama(), recipe, sources, target());
}

// Every plan that the recipe's free choices allow, one by one.
void for_every_choice(const Recipe& recipe, const std::function<void(const TrainPlan&)>& visit) {
  for (const int64_t micro_batch : {1, 2, 4}) {
    for (int64_t layers = 0; layers <= small_llama().layers; ++layers) {
      for (const int64_t chunk : {8, 16, 32, 64, 128, 256}) {
        if (chunk > micro_batch * recipe.seq_len) continue;
        Recipe fixed = recipe;
        fixed.micro_batch = micro_batch;
        fixed.recompute = RecomputeMode::layers;
        fixed.recompute_layers = layers;
        fixed.ce_chunk_rows = chunk;
        fixed.memory_bytes.reset();
        for (const RecomputeKeep keep : {RecomputeKeep::nothing, RecomputeKeep::attention}) {
          fixed.recompute_keep = keep;
          visit(plan(fixed));
        }
      }
    }
  }
}

TEST(ChoosePlan, SmallestBudgetWorksAndAPageLessDoesNot) {
  for (const Method method : {Method::lora, Method::full}) {
    for (const DType precision : {DType::bf16, DType::f32}) {
      Recipe recipe = small_recipe();
      recipe.method = method;
      recipe.precision = precision;
      recipe.memory_bytes = 1;
      const int64_t smallest = plan(recipe).smallest_budget_bytes;
      recipe.memory_bytes = smallest;
      const TrainPlan exact = plan(recipe);
      EXPECT_TRUE(exact.fits);
      EXPECT_LE(exact.total_bytes, smallest);
      EXPECT_EQ(exact.smallest_budget_bytes, smallest);
      recipe.memory_bytes = smallest - kPage;
      const TrainPlan refused = plan(recipe);
      EXPECT_FALSE(refused.fits);
      EXPECT_EQ(refused.total_bytes, smallest);
      EXPECT_EQ(refused.smallest_budget_bytes, smallest);
    }
  }
}

TEST(ChoosePlan, NoChoiceNeedsLessThanTheSmallestBudget) {
  Recipe recipe = small_recipe();
  recipe.stream = StreamMode::off;
  const int64_t smallest = plan(recipe).smallest_budget_bytes;
  int64_t found = INT64_MAX;
  for_every_choice(recipe, [&](const TrainPlan& choice) { found = std::min(found, choice.total_bytes); });
  EXPECT_EQ(smallest, found);
}

TEST(ChoosePlan, NothingThatFitsIsFaster) {
  Recipe recipe = small_recipe();
  struct Choice {
    int64_t bytes;
    double seconds;
  };
  std::vector<Choice> choices;
  for_every_choice(recipe, [&](const TrainPlan& choice) {
    choices.push_back({choice.total_bytes, choice.predicted_seconds});
  });
  for (const Choice& line : choices) {
    recipe.memory_bytes = line.bytes;
    double best = INFINITY;
    for (const Choice& choice : choices)
      if (choice.bytes <= line.bytes) best = std::min(best, choice.seconds);
    const TrainPlan chosen = plan(recipe);
    EXPECT_TRUE(chosen.fits);
    EXPECT_LE(chosen.total_bytes, line.bytes);
    EXPECT_LE(chosen.predicted_seconds, best * (1 + 1e-9)) << "at " << line.bytes << " bytes";
  }
}

TEST(ChoosePlan, MoreMemoryIsNeverSlower) {
  Recipe recipe = small_recipe();
  recipe.stream = StreamMode::off;  // weights are in memory wherever that fits, even if a disk were quicker
  const int64_t smallest = plan(recipe).smallest_budget_bytes;
  const int64_t largest = plan(recipe).total_bytes;
  ASSERT_LT(smallest, largest);
  double before = INFINITY;
  for (int64_t line = smallest; line <= largest + kMiB; line += (largest - smallest) / 24) {
    recipe.memory_bytes = line;
    const TrainPlan chosen = plan(recipe);
    EXPECT_TRUE(chosen.fits) << line;
    EXPECT_LE(chosen.predicted_seconds, before) << line;
    before = chosen.predicted_seconds;
  }
}

TEST(ChoosePlan, WhatTheRecipeSaysHolds) {
  Recipe recipe = small_recipe();
  recipe.micro_batch = 2;
  recipe.global_batch = 6;
  recipe.ce_chunk_rows = 24;
  recipe.recompute = RecomputeMode::layers;
  recipe.recompute_layers = 3;
  for (const bool with_line : {false, true}) {
    if (with_line) recipe.memory_bytes = kGiB;
    const TrainPlan chosen = plan(recipe);
    EXPECT_EQ(chosen.choices.micro_batch, 2);
    EXPECT_EQ(chosen.grad_accum_steps, 3);
    EXPECT_EQ(chosen.choices.ce_chunk_rows, 24);
    EXPECT_EQ(chosen.choices.recompute_layers, 3);
    EXPECT_EQ(chosen.why, "as given");
  }
  recipe.recompute = RecomputeMode::all;
  EXPECT_EQ(plan(recipe).choices.recompute_layers, 4);
  recipe.recompute = RecomputeMode::none;
  EXPECT_EQ(plan(recipe).choices.recompute_layers, 0);
  recipe.recompute = RecomputeMode::layers;
  recipe.recompute_layers = 99;
  EXPECT_EQ(plan(recipe).choices.recompute_layers, 4);
}

TEST(ChoosePlan, SuggestionsWork) {
  Recipe recipe = small_recipe();
  recipe.method = Method::full;
  recipe.precision = DType::f32;
  recipe.recompute = RecomputeMode::none;
  recipe.micro_batch = 4;
  recipe.ce_chunk_rows = 256;
  recipe.seq_len = 256;
  recipe.memory_bytes = plan(recipe).smallest_budget_bytes - 4096;  // any change that saves a page is enough
  const TrainPlan refused = plan(recipe);
  EXPECT_FALSE(refused.fits);
  ASSERT_GE(refused.suggestions.size(), 6U);
  const auto check = [&](const std::string& change, const std::function<void(Recipe&)>& apply) {
    const auto found = std::find_if(refused.suggestions.begin(), refused.suggestions.end(),
                                    [&](const Suggestion& s) { return s.change == change; });
    ASSERT_NE(found, refused.suggestions.end()) << change;
    Recipe changed = recipe;
    apply(changed);
    changed.memory_bytes = found->total_bytes;
    EXPECT_TRUE(plan(changed).fits) << change;
    EXPECT_LT(found->total_bytes, refused.smallest_budget_bytes) << change;
  };
  check("--recompute auto", [](Recipe& r) { r.recompute = RecomputeMode::automatic; });
  check("--ce-chunk-rows auto", [](Recipe& r) { r.ce_chunk_rows.reset(); });
  check("--micro-batch auto --global-batch 4", [](Recipe& r) { r.micro_batch.reset(); });
  check("--seq-len 128", [](Recipe& r) { r.seq_len = 128; });
  check("--precision bf16", [](Recipe& r) { r.precision = DType::bf16; });
  check("--optimizer-in-backward on", [](Recipe& r) { r.optimizer_in_backward = true; });
  check("--optimizer adamw8bit", [](Recipe& r) { r.optimizer = OptimizerKind::adamw8bit; });
  check("--optimizer sgd", [](Recipe& r) { r.optimizer = OptimizerKind::sgd; });
  check("--method lora", [](Recipe& r) { r.method = Method::lora; });
}

TEST(ChoosePlan, OtherLinesAreWhatAPlanWithThemGives) {
  Recipe recipe = small_recipe();
  const int64_t smallest = plan(recipe).smallest_budget_bytes, largest = plan(recipe).total_bytes;
  recipe.memory_bytes = smallest + (largest - smallest) / 3;
  const TrainPlan chosen = plan(recipe);
  ASSERT_TRUE(chosen.more && chosen.more->plan && chosen.less && chosen.runner_up);
  EXPECT_EQ(chosen.more->budget_bytes, *recipe.memory_bytes + *recipe.memory_bytes / 10);
  EXPECT_LE(chosen.more->plan->total_bytes, chosen.more->budget_bytes);
  EXPECT_FALSE(chosen.runner_up->choices == chosen.choices);
  EXPECT_GE(chosen.runner_up->predicted_seconds, chosen.predicted_seconds);
  for (const OtherLine& other : {*chosen.more, *chosen.less}) {
    Recipe there = recipe;
    there.memory_bytes = other.budget_bytes;
    const TrainPlan same = plan(there);
    EXPECT_EQ(same.fits, other.plan.has_value());
    if (other.plan) {
      EXPECT_EQ(same.total_bytes, other.plan->total_bytes);
    }
  }
  recipe.memory_bytes = smallest;
  EXPECT_FALSE(plan(recipe).less->plan.has_value());
}

TEST(ChoosePlan, RatesOfTheMachineDecide) {
  Recipe recipe = small_recipe();
  const TrainSources sources;
  PlanTarget assumed = target(), fitted = target();
  auto rates = std::make_shared<OpRates>();
  for (OpRate& rate : rates->rates) rate = {0, 0, 0, 1.0, true};  // a second for each op
  fitted.rates = rates;
  const TrainPlan one = choose_plan(small_llama(), recipe, sources, assumed);
  const TrainPlan other = choose_plan(small_llama(), recipe, sources, fitted);
  EXPECT_FALSE(one.calibrated);
  EXPECT_TRUE(other.calibrated);
  const auto ops = static_cast<double>(other.run.phase(phase_names::kTrainStep).graph.ops.size() +
                                       other.run.phase(phase_names::kUpdate).graph.ops.size());
  EXPECT_NEAR(other.predicted_seconds, ops, 1);
  EXPECT_LT(one.predicted_seconds, 1);
}

TEST(ChoosePlan, ASlowDiskCostsItsTime) {
  Recipe recipe = small_recipe();
  recipe.stream = StreamMode::on;
  const TrainSources sources;
  PlanTarget slow = target();
  slow.disk = [] { return DiskRate{1e3, "measured"}; };
  const TrainPlan chosen = choose_plan(small_llama(), recipe, sources, slow);
  EXPECT_GT(chosen.disk_bytes_per_step, 0);
  EXPECT_DOUBLE_EQ(chosen.predicted_seconds, static_cast<double>(chosen.disk_bytes_per_step) / 1e3);
  EXPECT_EQ(chosen.disk.source, "measured");
  EXPECT_LT(chosen.compute_seconds, 1);
}

// The bound that lengths are searched by is what plans take.
TEST(ChoosePlan, LeastBytesIsTheSmallestPlan) {
  const TrainSources sources;
  const PlanTarget machine = target();
  for (const StreamMode stream : {StreamMode::off, StreamMode::on}) {
    Recipe recipe = small_recipe();
    recipe.stream = stream;
    const ModelConfig config = small_llama();
    const TrainPlan any = choose_plan(config, recipe, sources, machine);
    const LeastBytes least(config, recipe, sources, machine, any);
    for (const int64_t length : {16, 64, 192}) {
      for (const int64_t rows : {1, 3}) {
        Recipe there = recipe;
        there.seq_len = length;
        there.micro_batch = there.global_batch = rows;
        const int64_t exact = smallest_plan(small_llama(), there, sources, machine).total_bytes;
        EXPECT_LE(least.at(length, rows), exact);
        EXPECT_NEAR(static_cast<double>(least.at(length, rows)), static_cast<double>(exact),
                    0.01 * static_cast<double>(exact));
      }
    }
  }
}

TEST(ChoosePlan, TheSameQuestionGivesTheSamePlan) {
  Recipe recipe = small_recipe();
  recipe.memory_bytes = plan(recipe).smallest_budget_bytes + 300000;
  const TrainPlan a = plan(recipe), b = plan(recipe);
  EXPECT_EQ(a.total_bytes, b.total_bytes);
  EXPECT_EQ(a.why, b.why);
  for (size_t i = 0; i < a.run.phases.size(); ++i)
    EXPECT_EQ(a.run.phases[i].value_offset, b.run.phases[i].value_offset);
}

}  // namespace
}  // namespace plimsoll
