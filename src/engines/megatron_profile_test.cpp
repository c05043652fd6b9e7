#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/error.h"
#include "config/model_catalog.h"
#include "engines/engine_profile.h"
#include "engines/serving_memory.h"
#include "engines/stack_memory.h"

namespace plimsoll {
namespace {

ModelConfig gpt(int64_t layers) {
  ModelConfig c;
  c.architecture = "megatron_gpt";
  c.vocab_size = 50304;
  c.hidden_size = 1024;
  c.intermediate_size = 4096;
  c.layers = layers;
  c.heads = c.kv_heads = 16;
  c.head_dim = 64;
  c.context_length = 2048;
  c.tied_embeddings = true;
  return c;
}

EngineRun run_of(int64_t layers) {
  EngineRun run;
  run.engine = "Megatron-Core";
  run.model = gpt(layers);
  run.recipe.micro_batch = 2;
  run.recipe.seq_len = 2048;
  run.recipe.grad_accum_steps = 8;
  run.recipe.hidden_dropout = 0.1;
  return run;
}

int64_t bytes(const EngineRun& run) { return estimate_engine_memory(run).allocated.bytes; }

// Korthikanti et al. 2022, table 2, with fused attention: sbh(10 + 24/t) a layer, and a number a row and head for its
// softmax; 18 bytes a parameter of states.
TEST(MegatronProfile, ALayerIsThatOfThePaper) {
  for (const int64_t tensor : {1, 2, 4}) {
    EngineRun a = run_of(4), b = run_of(5);
    a.layout.tensor = b.layout.tensor = tensor;
    const double n = 2 * 2048, h = 1024;
    const double parameters = 12 * h * h / static_cast<double>(tensor) + 4 * h;
    const double t = static_cast<double>(tensor);
    EXPECT_NEAR(static_cast<double>(bytes(b) - bytes(a)), n * h * (10 + 24 / t) + 4 * n * 16 / t + 18 * parameters, 2);
  }
}

TEST(MegatronProfile, SequenceParallelCutsTheRest) {
  EngineRun a = run_of(4), b = run_of(5);
  a.layout.tensor = b.layout.tensor = 4;
  a.layout.sequence_parallel = b.layout.sequence_parallel = true;
  const double n = 2 * 2048, h = 1024;
  EXPECT_NEAR(static_cast<double>(bytes(b) - bytes(a)), n * h * 34 / 4 + n * 16 + 18 * (3 * h * h + 4 * h), 2);
}

TEST(MegatronProfile, TheFirstStageHoldsAsManyBatchesAsThereAreStages) {
  EngineRun run = run_of(16);
  run.layout.pipeline = 4;
  run.layout.stage = 1;
  const int64_t second = bytes(run);
  run.layout.stage = 2;
  const double n = 2 * 2048, h = 1024;
  // Stages 1 and 2 differ in one micro-batch of four layers.
  EXPECT_NEAR(static_cast<double>(second - bytes(run)), 4 * (n * h * 34 + 4 * n * 16), 4);
}

TEST(MegatronProfile, DistributedOptimizerCutsStates) {
  EngineRun run = run_of(8);
  run.layout.data = 8;
  const int64_t whole = bytes(run);
  run.layout.zero_stage = 1;
  const int64_t cut = bytes(run);
  const double h = 1024, parameters = 8 * (12 * h * h + 4 * h) + 50304 * h;
  EXPECT_NEAR(static_cast<double>(whole - cut), 12 * parameters * 7 / 8, 10);
}

TEST(MegatronProfile, MoreStagesThanLayersIsRefused) {
  EngineRun run = run_of(2);
  run.layout.pipeline = 4;
  EXPECT_THROW(estimate_engine_memory(run), Error);
}

TEST(StackMemory, TheStackNamedFirst) {
  EXPECT_EQ(stack_memory("ms-swift (transformers+PEFT)").stack, "ms-swift");
  EXPECT_EQ(stack_memory("transformers+PEFT+DeepSpeed").stack, "transformers+peft+deepspeed");
  EXPECT_EQ(stack_memory("NeMo/Megatron (DGX Cloud Benchmarking 25.05)").stack, "nemo");
  EXPECT_EQ(stack_memory("nobody's trainer").stack, "");
}

TEST(StackMemory, EveryRowAndConstantHasASource) {
  for (const StackMemory& stack : all_stack_memory()) {
    EXPECT_FALSE(stack.source.empty()) << stack.stack;
    EXPECT_FALSE(stack.date.empty()) << stack.stack;
    EXPECT_GT(stack.spread, 0) << stack.stack;
  }
}

TEST(ServingMemory, KeysAndValues) {
  ModelConfig c = gpt(10);
  c.kv_heads = 4;
  EXPECT_EQ(kv_bytes_per_token(c, 2, 1), 2 * 10 * 4 * 64 * 2);
  EXPECT_EQ(kv_bytes_per_token(c, 1, 2), 2 * 10 * 2 * 64);
  EXPECT_EQ(kv_bytes_per_token(c, 2, 8), 2 * 10 * 1 * 64 * 2);  // a head at least on every rank
  c.sliding_window = 100;
  c.layer_slides.assign(10, false);
  for (size_t i = 0; i < 5; ++i) c.layer_slides[i] = true;
  EXPECT_EQ(kv_bytes_of_sequence(c, 1000, 2, 1), 2 * 4 * 64 * 2 * (5 * 1000 + 5 * 100));
  c.latent.kv_rank = 512;
  c.latent.rotary = 64;
  EXPECT_EQ(kv_bytes_per_token(c, 2, 8), 10 * (512 + 64) * 2);
}

TEST(ServingMemory, MostUsersByHand) {
  ServingRun run;
  run.engine = "vllm";
  run.model = parse_hf_config(find_catalog_model("llama-3.1-8b")->config, "llama-3.1-8b");
  run.device_bytes = int64_t{80} << 30;
  run.context_tokens = 8190;
  const ServingBytes bytes = serving_bytes(run);
  EXPECT_EQ(bytes.weights, 2 * int64_t{8030261248});
  EXPECT_EQ(bytes.kv_per_token, 131072);
  EXPECT_EQ(bytes.kv_per_user, 131072 * int64_t{8192});  // in blocks of 16 tokens
  EXPECT_EQ(bytes.most_users, bytes.room / bytes.kv_per_user);
  EXPECT_EQ(bytes.room, 77309411328 - bytes.weights - bytes.workspace - bytes.outside);
  run.kv_bytes = 1;
  EXPECT_EQ(serving_bytes(run).most_users,
            2 * bytes.most_users + (bytes.room % bytes.kv_per_user) / (bytes.kv_per_user / 2));
  run.device_bytes = int64_t{12} << 30;
  const ServingBytes none = serving_bytes(run);
  EXPECT_EQ(none.most_users, 0);
  run.device_bytes = none.least_device_bytes;
  EXPECT_EQ(serving_bytes(run).most_users, 1);
  run.device_bytes -= 1 << 20;
  EXPECT_EQ(serving_bytes(run).most_users, 0);
  run.engine = "nothing";
  EXPECT_THROW(serving_bytes(run), Error);
}

// Llama 3.1 8B: 7,504,924,672 values in matrices of 4.5 bits but for v and down of half the layers, the output matrix
// (6.5625 bits), and norms and the 64 divisors of its rope in f32.
TEST(ServingMemory, TypesOfGgufFiles) {
  const ModelConfig model = parse_hf_config(find_catalog_model("llama-3.1-8b")->config, "llama-3.1-8b");
  EXPECT_EQ(gguf_weight_bytes(model, "bf16", "--weights"), 2 * int64_t{8030261248} + 2 * 266240 + 4 * 64);
  EXPECT_EQ(gguf_weight_bytes(model, "q8_0", "--weights"),
            (int64_t{8030261248} - 266240) / 32 * 34 + 4 * (266240 + 64));
  const int64_t values = int64_t{4096} * 1024, down = int64_t{4096} * 14336, head = int64_t{128256} * 4096;
  const int64_t wide = 16 * (values + down) + head, all = int64_t{8030261248} - 266240;
  EXPECT_EQ(gguf_weight_bytes(model, "q4_k_m", "--weights"),
            (all - wide) / 256 * 144 + wide / 256 * 210 + 4 * (266240 + 64));
  EXPECT_THROW(gguf_weight_bytes(model, "q4_x", "--weights"), Error);
  ServingRun run;
  run.engine = "llama.cpp";
  run.model = model;
  run.device_bytes = int64_t{24} << 30;
  run.context_tokens = 512;
  run.weights_bytes = gguf_weight_bytes(model, "q4_k_m", "--weights");
  run.tensor = 2;
  EXPECT_EQ(serving_bytes(run).weights, ceil_div(run.weights_bytes, 2));
}

}  // namespace
}  // namespace plimsoll
