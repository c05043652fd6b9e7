#include "engines/engine_time.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "config/model_catalog.h"

namespace plimsoll {
namespace {

struct Case {
  Catalog catalog = load_catalog();
  EngineRun run;
  TimeQuestion question;

  explicit Case(const char* model = "llama-3.1-8b", const char* device = "h100-80g") {
    run.engine = "megatron";
    run.model = parse_hf_config(find_catalog_model(model)->config, model);
    run.recipe.seq_len = 4096;
    run.recipe.grad_accum_steps = 8;
    run.recipe.optimizer = decltype(EngineRecipe::optimizer)::adamw_fused;
    question.run = &run;
    question.device = &require_device(catalog, device, "--device");
    question.habits = time_habits(run.engine);
    question.constants = load_time_constants();
  }
  EngineTime time() const { return estimate_engine_time(question); }
};

TEST(EngineTime, SharesAddUpToTheStep) {
  Case one;
  one.run.layout = {.data = 2, .tensor = 2, .pipeline = 2, .zero_stage = 1};
  const EngineTime time = one.time();
  EXPECT_NEAR(time.shares.sum() / time.step_seconds, 1.0, 1e-9);
  EXPECT_GT(time.shares[Cause::pipeline_bubble], 0);
  EXPECT_GT(time.shares[Cause::tensor_parallel], 0);
  EXPECT_EQ(time.tokens_per_step, 2.0 * 8 * 4096);
  EXPECT_NEAR(time.tokens_per_second_per_device * time.step_seconds * 8, time.tokens_per_step, 1e-6);
}

TEST(EngineTime, UtilisationIsBetweenNothingAndThePeak) {
  Case one;
  EngineTime time = one.time();
  EXPECT_GT(time.mfu, 0.3);
  EXPECT_LT(time.mfu, 0.8);
  EXPECT_EQ(time.mfu, time.hfu);
  const double plain = time.step_seconds;
  one.run.recipe.recompute = RecomputeKind::full;
  time = one.time();
  EXPECT_NEAR(time.hfu / time.mfu, 4.0 / 3, 1e-9);  // one forward pass more
  EXPECT_GT(time.step_seconds, 1.2 * plain);
  EXPECT_LT(time.step_seconds, 1.45 * plain);
}

TEST(EngineTime, NvmeIsSharedByTheRanksOfANode) {
  Case one;
  one.run.layout = {.data = 8, .zero_stage = 3};
  one.run.layout.offload_optimizer = true;
  const double host = one.time().shares[Cause::offload];
  one.run.layout.offload_place = OffloadPlace::nvme;
  EXPECT_THROW(one.time(), Error);  // how fast it is isn't known
  one.run.nvme_rate = 5e9;
  const double nvme = one.time().shares[Cause::offload];
  // 12 bytes a value of master weights and moments both ways, 4 of gradients both ways, all eight ranks' through one
  // disk.
  EXPECT_NEAR(nvme, 32.0 * 8.03e9 / 5e9, 0.01 * nvme);
  EXPECT_GT(nvme, 5 * host);
  one.run.nvme_rate = 1e15;
  EXPECT_DOUBLE_EQ(one.time().shares[Cause::offload], host);
}

TEST(EngineTime, EachWayOfCuttingCostsWhatItShould) {
  Case one;
  const double alone = one.time().tokens_per_second_per_device;
  one.run.layout.tensor = 8;
  const double tensor = one.time().tokens_per_second_per_device;
  EXPECT_LT(tensor, alone);
  one.run.layout = {.data = 8, .zero_stage = 1};
  const double data = one.time().tokens_per_second_per_device;
  EXPECT_LT(data, alone);
  EXPECT_GT(data, tensor);  // gradients once a step against activations in every layer
  one.run.layout = {.pipeline = 8};
  const double pipeline = one.time().tokens_per_second_per_device;
  EXPECT_LT(pipeline, alone * 8 / 15 * 1.05);  // 8 micro-batches over 8 stages: at least 7 of 15 slots are empty
}

TEST(EngineTime, AdaptersSkipTheGradientsOfTheBase) {
  Case one;
  one.run.engine = "unsloth";
  one.question.habits = time_habits("unsloth");
  one.run.recipe.micro_batch = 8;
  const double full = one.time().step_seconds;
  one.run.recipe.method = TuneMethod::lora;
  one.run.recipe.lora_rank = 16;
  one.run.recipe.lora_targets = {"all-linear"};
  const EngineTime lora = one.time();
  EXPECT_LT(lora.step_seconds, 0.9 * full);
  EXPECT_GT(lora.shares[Cause::adapters], 0);
  one.run.recipe.method = TuneMethod::qlora;
  one.run.recipe.weights = WeightFormat::nf4;
  EXPECT_GT(one.time().step_seconds, lora.step_seconds);
}

TEST(EngineTime, SmallModelsWaitForTheHost) {
  Case one("smollm2-135m");
  one.run.recipe.seq_len = 256;
  EXPECT_GT(one.time().shares[Cause::host], 0);
  one.run.recipe.seq_len = 8192;
  one.run.recipe.micro_batch = 16;
  EXPECT_EQ(one.time().shares[Cause::host], 0);
}

TEST(EngineTime, TheTimelineIsAChromeTrace) {
  Case one;
  one.run.layout = {.data = 2, .pipeline = 4, .zero_stage = 1};
  one.question.timeline = true;
  const EngineTime time = one.time();
  const auto trace = nlohmann::json::parse(chrome_trace(time));
  EXPECT_GE(trace["traceEvents"].size(), 4U * 2 * 8);
  double end = 0;
  for (const auto& event : trace["traceEvents"])
    end = std::max(end, event["ts"].get<double>() + event["dur"].get<double>());
  EXPECT_NEAR(end / (time.step_seconds * 1e6), 1.0, 1e-6);
}

TEST(EngineTime, WhatCannotBeIsRefused) {
  Case one;
  one.run.layout.pipeline = 64;  // 32 layers
  EXPECT_THROW(one.time(), Error);
  one.run.layout = {.data = 16};
  one.question.device = &require_device(one.catalog, "rtx4090", "--device");
  EXPECT_THROW(one.time(), Error);  // two nodes, and nobody says how they are joined
}

// Published steps that the model was not shaped by hand for: the order of size must hold everywhere.
TEST(EngineTime, IsNearPublishedSteps) {
  Case one("gpt3-175b", "a100-80g");  // arXiv:2205.05198, table 5: 175B, full recompute, 18.13 s
  one.run.engine = "Megatron-LM";
  one.question.habits = time_habits(one.run.engine);
  one.run.recipe.seq_len = 2048;
  one.run.recipe.grad_accum_steps = 64;
  one.run.recipe.recompute = RecomputeKind::full;
  one.run.layout = {.tensor = 8, .pipeline = 8};
  EXPECT_NEAR(one.time().step_seconds, 18.13, 0.45 * 18.13);
}

}  // namespace
}  // namespace plimsoll
