#include "engines/layout/layout_rules.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll {
namespace {

EngineRun run_of(int64_t experts = 0) {
  EngineRun run;
  run.engine = "megatron";
  ModelConfig& m = run.model;
  m.hidden_size = 8192;
  m.intermediate_size = 28672;
  m.layers = 80;
  m.heads = 64;
  m.kv_heads = 8;
  m.head_dim = 128;
  m.vocab_size = 128256;
  m.mixture.experts = experts;
  run.recipe.seq_len = 4096;
  return run;
}

void expect_way_out(const EngineRun& run, const char* way_out) {
  try {
    refuse_impossible_layout(run);
    ADD_FAILURE() << way_out;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.way_out()).find(way_out), std::string::npos) << error.what();
  }
}

TEST(LayoutRules, TensorRanksDivideHeadsAndGroups) {
  EngineRun run = run_of();
  for (const int64_t tensor : {1, 2, 4, 8, 16, 32, 64}) {
    run.layout.tensor = tensor;
    EXPECT_NO_THROW(refuse_impossible_layout(run)) << tensor;
  }
  run.layout.tensor = 3;
  expect_way_out(run, "tp=2");
  run.layout.tensor = 128;
  expect_way_out(run, "tp=64");
  run.model.kv_heads = 6;  // neither divides the other
  run.model.heads = 24;
  run.layout.tensor = 4;
  expect_way_out(run, "tp=2");
  run.engine = "fsdp2";
  EXPECT_NO_THROW(refuse_impossible_layout(run));
}

TEST(LayoutRules, ExpertsAndTheirRanks) {
  EngineRun run = run_of(8);
  run.layout.data = 3, run.layout.tensor = 2, run.layout.expert = 3;
  expect_way_out(run, "ep=1");  // 3 does not divide 8
  run.layout.data = 4, run.layout.expert = 8;
  expect_way_out(run, "ep=4");  // 8 ranks, two of them for each expert's products
  run.layout.expert_tensor = 1;
  EXPECT_NO_THROW(refuse_impossible_layout(run));
  run.layout.expert_tensor = 3;
  expect_way_out(run, "etp=2");
  run = run_of();
  run.layout.data = 2, run.layout.expert = 2;
  expect_way_out(run, "leave ep= out");
}

TEST(LayoutRules, PipelinesAndZero) {
  EngineRun run = run_of();
  run.layout.pipeline = 4, run.layout.virtual_stages = 20;
  EXPECT_NO_THROW(refuse_impossible_layout(run));
  run.layout.virtual_stages = 21;
  expect_way_out(run, "vpp=20");
  // Embedding and head may be chunks of their own: 82 chunks of 80 layers.
  run.layout.pipeline = 41, run.layout.virtual_stages = 2;
  EXPECT_NO_THROW(refuse_impossible_layout(run));
  run.layout.pipeline = 4, run.layout.virtual_stages = 20;
  run.layout.pipeline = 1, run.layout.virtual_stages = 2;
  expect_way_out(run, "pp=2");
  run.layout.pipeline = 81, run.layout.virtual_stages = 1;
  expect_way_out(run, "pp=80");
  for (const int zero : {2, 3}) {
    run.layout.pipeline = 4, run.layout.data = 8, run.layout.zero_stage = zero;
    expect_way_out(run, "zero=1");
  }
  run.layout.pipeline = 1;
  EXPECT_NO_THROW(refuse_impossible_layout(run));
}

TEST(LayoutRules, SequencesAreCutEvenly) {
  EngineRun run = run_of();
  run.recipe.seq_len = 4100;
  EXPECT_NO_THROW(refuse_impossible_layout(run));
  run.layout.context = 4;
  expect_way_out(run, "--seq-len 4104");
  run.layout.context = 1, run.layout.tensor = 8, run.layout.sequence_parallel = true;
  expect_way_out(run, "--seq-len 4104");
}

}  // namespace
}  // namespace plimsoll
