#include "engines/engine_profile.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/error.h"
#include "engines/eager/train_step.h"
#include "engines/profiles.h"
#include "engines/stack_memory.h"

namespace plimsoll {
namespace {

// So that no product of sizes overflows, and a tape stays of a size that can be worked through.
void check_run(const EngineRun& run) {
  const EngineRecipe& r = run.recipe;
  const EngineLayout& l = run.layout;
  const ModelConfig& m = run.model;
  const auto within = [](int64_t value, int64_t low, int64_t high, const char* thing) {
    if (value < low || value > high)
      throw caller_error(thing, fmt::format("is {}", value), fmt::format("give {} to {}", low, high));
  };
  constexpr int64_t kRanks = int64_t{1} << 20;
  within(r.micro_batch, 1, int64_t{1} << 20, "micro-batch");
  within(r.seq_len, run.serves ? 0 : 1, int64_t{1} << 24, "sequence length");
  within(r.micro_batch * r.seq_len, run.serves ? 0 : 1, int64_t{1} << 30, "tokens of a micro-batch");
  within(r.lora_rank, 0, int64_t{1} << 16, "rank");
  within(r.grad_accum_steps, 1, int64_t{1} << 40, "micro-batches of a step");
  for (const int64_t ranks : {l.data, l.tensor, l.pipeline, l.context, l.expert, l.virtual_stages})
    within(ranks, 1, kRanks, "layout");
  within(l.expert_tensor, 0, kRanks, "layout");
  within(l.pipeline * l.virtual_stages, 1, 1 << 16, "pipeline chunks");
  within(r.further_tokens, 0, 64, "layers for further tokens");
  constexpr int64_t kValues = int64_t{1} << 40;
  for (const int64_t values : {l.zero.max_live, l.zero.reuse_distance, l.zero.prefetch, l.zero.persistence,
                               l.zero.reduce_bucket, l.zero.sub_group})
    within(values, 0, kValues, "a setting of ZeRO, in values");
  within(m.layers, 1, 4096, "layers");
  for (const int64_t size : {m.hidden_size, m.intermediate_size, m.heads, m.kv_heads, m.head_dim, m.vocab_size})
    within(size, 1, int64_t{1} << 24, "a size of the model");
  within(m.mixture.experts, 0, int64_t{1} << 16, "experts");
}

}  // namespace

void require_adapters(const EngineRun& run) {
  if (run.recipe.method == TuneMethod::full || run.recipe.trains_embeddings || run.serves) return;
  // Megatron has names of its own: linear_qkv, linear_fc1.
  for (const std::string& target : run.recipe.lora_targets)
    if (target.starts_with("linear_") && stack_memory(run.engine).profile == MemoryProfile::megatron) return;
  EngineRecipe one = run.recipe;
  one.micro_batch = one.seq_len = one.grad_accum_steps = 1;
  try {
    if (eager::trained_parameters(run.model, one) > 0) return;
  } catch (const Error&) {
    return;  // a family whose modules aren't followed here
  }
  throw caller_error("--targets", "names no linear layer of this model", "all-linear, or names such as q_proj,v_proj");
}

namespace {

// PyTorch modules with context ranks: each rank runs them on its part of the sequence. Attention gathers the keys and
// values of the whole, of one layer at a time (torch.distributed.tensor.experimental's default).
EngineMemory on_part_of_sequence(const EngineRun& run) {
  EngineRun part = run;
  part.recipe.seq_len = ceil_div(run.recipe.seq_len, run.layout.context);
  part.layout.context = 1;
  part.layout.shard_ranks = run.layout.shard_ranks > 0 ? run.layout.shard_ranks : run.layout.data * run.layout.context;
  part.layout.data = run.layout.data * run.layout.context;
  EngineMemory memory = estimate_engine_memory(part);
  const int64_t value_bytes = run.recipe.compute == ComputeMode::f32 ? 4 : 2;
  const int64_t gathered =
      2 * run.recipe.micro_batch * run.recipe.seq_len * run.model.kv_heads * run.model.head_dim * value_bytes;
  memory.activations += gathered;
  for (PhasePeak& phase : memory.phases) phase.bytes += phase.name == "step" ? 0 : gathered;
  for (ByteInterval* figure : {&memory.allocated, &memory.reserved, &memory.device_used})
    for (int64_t* bytes : {&figure->bytes, &figure->low, &figure->high}) *bytes += gathered;
  return memory;
}

}  // namespace

EngineMemory estimate_engine_memory(const EngineRun& run) {
  check_run(run);
  require_adapters(run);
  const StackMemory& stack = stack_memory(run.engine);
  if (run.serves) return inference_memory(run, stack);
  if (run.layout.context > 1 && stack.profile != MemoryProfile::megatron) return on_part_of_sequence(run);
  switch (stack.profile) {
    case MemoryProfile::torch:
      return run.layout.devices() == 1 && !stack.master_weights ? torch_memory(run, stack) : sharded_memory(run, stack);
    case MemoryProfile::sharded:
      return sharded_memory(run, stack);
    case MemoryProfile::megatron:
      return megatron_memory(run, stack);
    case MemoryProfile::native:
      return native_memory(run, stack);
    case MemoryProfile::inference:
      break;
  }
  return torch_memory(run, stack);
}

}  // namespace plimsoll
