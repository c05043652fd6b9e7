// FSDP and DeepSpeed: what is cut, gathered, and kept off the device.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/error.h"
#include "engines/eager/train_step.h"
#include "engines/engine_profile.h"

namespace plimsoll {
namespace {

EngineRun run_of(const char* engine, int zero) {
  EngineRun run;
  run.engine = engine;
  ModelConfig& c = run.model;
  c.architecture = "llama";
  c.vocab_size = 32000;
  c.hidden_size = 2048;
  c.intermediate_size = 5632;
  c.layers = 12;
  c.heads = c.kv_heads = 32;
  c.head_dim = 64;
  c.context_length = 2048;
  run.recipe.micro_batch = 1;
  run.recipe.seq_len = 1024;
  run.layout.data = 8;
  run.layout.zero_stage = zero;
  return run;
}

EngineMemory memory(const EngineRun& run) { return estimate_engine_memory(run); }

int64_t values(const EngineRun& run) {
  EngineRecipe recipe = run.recipe;
  recipe.seq_len = 1;
  return eager::trained_parameters(run.model, recipe);
}

TEST(Fsdp, TheFirstVersionGathersInPlace) {
  const EngineMemory second = memory(run_of("fsdp2", 3)), first = memory(run_of("fsdp", 3));
  EXPECT_EQ(first.parameters, second.parameters);
  EXPECT_LE(first.allocated.bytes, second.allocated.bytes);
  EXPECT_LT(first.reserved.bytes, second.reserved.bytes);
}

// SHARD_GRAD_OP keeps what it gathered until the backward pass.
TEST(Fsdp, StageTwoKeepsWeightsForTheBackwardPass) {
  const EngineRun run = run_of("fsdp2", 2);
  const EngineMemory two = memory(run), three = memory(run_of("fsdp2", 3));
  EXPECT_EQ(two.parameters, three.parameters);
  EXPECT_EQ(two.optimizer_state, three.optimizer_state);
  EXPECT_GT(two.allocated.bytes, three.allocated.bytes + values(run));  // 2 bytes of nearly every weight
}

// Each of four context ranks holds a quarter of the tokens, and of one layer the keys and values of all.
TEST(Fsdp, ContextRanksHoldTheirPartOfTheSequence) {
  EngineRun quarter = run_of("fsdp2", 3);
  const EngineMemory alone = memory(quarter);
  quarter.recipe.seq_len *= 4;
  quarter.layout.data = 2, quarter.layout.context = 4;
  const EngineMemory cut = memory(quarter);
  const int64_t gathered = 2 * 4096 * 32 * 64 * 2;
  EXPECT_EQ(cut.allocated.bytes, alone.allocated.bytes + gathered);
  EXPECT_EQ(cut.parameters, alone.parameters);
  EXPECT_EQ(cut.parameters + cut.gradients + cut.optimizer_state + cut.activations, cut.allocated.bytes);
}

TEST(Fsdp, OffloadTakesShardsGradientsAndStates) {
  EngineRun run = run_of("fsdp2", 3);
  const EngineMemory before = memory(run);
  run.layout.offload_optimizer = run.layout.offload_parameters = true;
  const EngineMemory after = memory(run);
  EXPECT_NEAR(static_cast<double>(after.host_bytes), 2 * (1 + 1 + 2) * static_cast<double>(values(run)) / 8, 1e5);
  EXPECT_EQ(after.pinned_bytes, after.host_bytes);
  // The device has what is gathered and on its way; the optimizer steps on the host.
  EXPECT_LT(after.allocated.bytes, before.allocated.bytes - 2 * values(run) / 8);
  EXPECT_EQ(after.parameters + after.optimizer_state, 0);
  EXPECT_NE(after.peak_phase, "step");
  for (const PhasePeak& phase : after.phases) {
    if (phase.name != "forward") continue;
    EXPECT_GT(phase.bytes, 2 * values(run) / 14);  // a layer and the root, gathered
  }
  run.layout.offload_parameters = false;
  EXPECT_THROW(memory(run), Error);  // all or nothing
  run.layout.offload_parameters = true;
  run.layout.offload_place = OffloadPlace::nvme;
  EXPECT_THROW(memory(run), Error);
  run.layout.offload_place = OffloadPlace::host;
  run.engine = "torch";
  run.layout = {};
  run.layout.offload_optimizer = true;
  EXPECT_THROW(memory(run), Error);
}

// A rank's part: 2 bytes of weights, 2 of gradients, 12 of states in stage 3; 16 of states and gradients before.
TEST(DeepSpeed, States) {
  const EngineRun run = run_of("deepspeed", 3);
  const int64_t part = values(run) / 8;
  const EngineMemory three = memory(run);
  EXPECT_NEAR(static_cast<double>(three.optimizer_state), 12.0 * static_cast<double>(part), 100);
  EXPECT_NEAR(static_cast<double>(three.parameters), 2.0 * static_cast<double>(part), 0.01 * static_cast<double>(part));
  const EngineMemory one = memory(run_of("deepspeed", 1));
  EXPECT_NEAR(static_cast<double>(one.optimizer_state), 16.0 * static_cast<double>(part), 100);
  EXPECT_EQ(memory(run_of("deepspeed", 0)).optimizer_state, 16 * values(run));
}

TEST(DeepSpeed, SettingsBoundWhatIsGathered) {
  EngineRun run = run_of("deepspeed", 3);
  run.recipe.recompute = RecomputeKind::full;
  run.recipe.seq_len = 8192;
  run.model.vocab_size = 4000;
  const int64_t whole = memory(run).allocated.bytes;  // reuse of 1e9 values: the model stays gathered
  run.layout.zero.reuse_distance = 0;
  const int64_t ahead = memory(run).allocated.bytes;
  run.layout.zero.prefetch = 0;
  const int64_t least = memory(run).allocated.bytes;
  EXPECT_GT(whole, ahead + values(run));
  EXPECT_GT(ahead, least);
  run.layout.zero.prefetch = 50'000'000;
  run.layout.zero.max_live = 1;  // leaves no room to fetch ahead
  EXPECT_EQ(memory(run).allocated.bytes, least);
  run.layout.zero.reduce_bucket = 0;
  EXPECT_NEAR(static_cast<double>(least - memory(run).allocated.bytes), 1e9, 1e3);
  // What is below the threshold is on every rank.
  const int64_t cut = memory(run).parameters;
  run.layout.zero.persistence = int64_t{1} << 40;
  EXPECT_NEAR(static_cast<double>(memory(run).parameters), 8.0 * static_cast<double>(cut),
              0.01 * static_cast<double>(cut));
}

TEST(DeepSpeed, Offload) {
  EngineRun run = run_of("deepspeed", 3);
  const auto part = static_cast<double>(values(run)) / 8;
  run.layout.offload_optimizer = true;
  const EngineMemory states = memory(run);
  EXPECT_EQ(states.optimizer_state, 0);
  EXPECT_NEAR(static_cast<double>(states.host_bytes), (12 + 4 + 2) * part, 100);
  EXPECT_EQ(states.nvme_bytes, 0);
  run.layout.offload_parameters = true;
  const EngineMemory all = memory(run);
  EXPECT_EQ(all.parameters, 0);
  EXPECT_EQ(states.allocated.bytes - all.allocated.bytes, states.parameters);
  EXPECT_EQ(all.host_bytes, states.host_bytes + states.parameters);
  // NVMe: states with gradients in f32; weights beyond max_in_cpu. Buffers on the host: four of a sub-group's values in
  // f32, five of 1e8 values in 16 bits.
  run.layout.offload_place = OffloadPlace::nvme;
  const EngineMemory nvme = memory(run);
  EXPECT_EQ(nvme.allocated.bytes, all.allocated.bytes);
  EXPECT_NEAR(static_cast<double>(nvme.nvme_bytes), 16 * part, 100);
  EXPECT_NEAR(static_cast<double>(nvme.pinned_bytes), 4 * 4 * part + 1e9, 100);
  run.layout.zero.parameters_in_host = 0;
  EXPECT_NEAR(static_cast<double>(memory(run).nvme_bytes - nvme.nvme_bytes), static_cast<double>(states.parameters), 2);
}

TEST(DeepSpeed, OffloadNeedsItsStage) {
  EngineRun run = run_of("deepspeed", 0);
  run.layout.offload_optimizer = true;
  EXPECT_THROW(memory(run), Error);
  run.layout.zero_stage = 2;
  const EngineMemory two = memory(run);
  EXPECT_EQ(two.optimizer_state, 0);
  EXPECT_GT(two.parameters, 2 * values(run) - 100);
  run.layout.offload_place = OffloadPlace::nvme;
  EXPECT_THROW(memory(run), Error);
  run.layout.offload_place = OffloadPlace::host;
  run.layout.offload_parameters = true;
  EXPECT_THROW(memory(run), Error);
}

// The highest phase is the peak, whatever is cut by share, added throughout or kept off the device.
TEST(Phases, AddUpToThePeak) {
  const auto check = [](const EngineRun& run) {
    const EngineMemory m = memory(run);
    int64_t most = 0;
    for (const PhasePeak& phase : m.phases) most = std::max(most, phase.bytes);
    const std::string what = run.engine + " " + std::to_string(run.layout.zero_stage);
    EXPECT_EQ(most, m.allocated.bytes) << what;
    EXPECT_EQ(m.parameters + m.gradients + m.optimizer_state + m.activations, m.allocated.bytes) << what;
  };
  for (const int64_t tokens : {64, 4096})
    for (const char* engine : {"fsdp2", "fsdp", "deepspeed", "ms-swift", "transformers+peft+deepspeed", "megatron"})
      for (int zero = 0; zero <= 3; ++zero) {
        EngineRun run = run_of(engine, zero);
        run.recipe.seq_len = tokens;
        check(run);
        run.layout.offload_optimizer = true;
        const bool fsdp = run.engine.starts_with("fsdp");
        run.layout.offload_parameters = fsdp || (run.engine == "deepspeed" && zero == 3);
        if (run.engine != "ms-swift" && (zero >= 2 || (zero == 1 && !fsdp))) check(run);
      }
}

TEST(Torchtune, AStepInTheBackwardPassLeavesNoGradients) {
  EngineRun run = run_of("torchtune", 0);
  run.layout = {};
  run.recipe.recompute = RecomputeKind::full;
  const EngineMemory before = memory(run);
  run.recipe.step_in_backward = true;
  const EngineMemory after = memory(run);
  EXPECT_GT(before.gradients, 2 * values(run) * 9 / 10);
  EXPECT_LT(after.gradients, before.gradients / 4);
  EXPECT_EQ(after.optimizer_state, before.optimizer_state);
  EXPECT_LT(after.allocated.bytes, before.allocated.bytes);
}

// The inputs of twelve layers wait on the host, but for the last five tensors.
TEST(Torchtune, ActivationsWaitOnTheHost) {
  EngineRun run = run_of("torchtune", 0);
  run.layout = {};
  run.recipe.seq_len = 8192;
  const EngineMemory before = memory(run);
  run.recipe.offload_activations = true;
  const EngineMemory all = memory(run);
  EXPECT_LT(all.allocated.bytes, before.allocated.bytes);
  EXPECT_GT(all.host_bytes, before.allocated.bytes - all.allocated.bytes);
  run.recipe.recompute = RecomputeKind::full;
  const EngineMemory inputs = memory(run);
  constexpr int64_t kInput = 8192 * 2048 * 2;
  EXPECT_GE(inputs.host_bytes, 12 * kInput);
  EXPECT_LE(inputs.host_bytes, 19 * kInput);  // and what the final norm saves, in f32
}

}  // namespace
}  // namespace plimsoll
