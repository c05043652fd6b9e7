// PyTorch modules with states over several ranks: DDP and FSDP.
//
// What FSDP cuts is traced with its own hooks: FSDP1 and FSDP2, with weights let go after the forward pass (stage 3,
// FULL_SHARD) or kept until the backward pass (stage 2, SHARD_GRAD_OP). Without it the modules run as on one device:
// their trace is taken, and states that are cut are counted at their share.
#include <algorithm>

#include "base/error.h"
#include "engines/offload.h"
#include "engines/profiles.h"
#include "engines/trace_memory.h"

namespace plimsoll {
namespace {

constexpr int64_t kTracedMicroBatches = 2;

// CPUOffloadPolicy (torch.distributed.fsdp): shards, their gradients and states live on the host, pinned, and the
// optimizer steps there; the device has the groups that are gathered and their gradients on their way.
EngineMemory offloaded(const eager::StepTrace& with_step, const eager::StepTrace& without_step) {
  EngineMemory memory = memory_of_trace(
      with_shares(without_step, {.parameters = 0, .gradients = 1, .shard_gradients = 0, .optimizer_states = 0}));
  const auto held = [](const eager::StepTrace& trace, eager::Purpose purpose) {  // the most at once
    int64_t live = 0, most = 0;
    for (const eager::Event& event : trace.log.events) {
      if (trace.log.purposes[static_cast<size_t>(event.storage)] != purpose) continue;
      live += event.bytes;
      most = std::max(most, live);
    }
    return most;
  };
  memory.host_bytes += held(without_step, eager::Purpose::parameter) +
                       held(without_step, eager::Purpose::shard_gradient) +
                       held(with_step, eager::Purpose::optimizer_state);
  memory.pinned_bytes = memory.host_bytes;
  return memory;
}

}  // namespace

EngineMemory sharded_memory(const EngineRun& run, const StackMemory& stack) {
  const EngineLayout& l = run.layout;
  if (l.tensor > 1 || l.pipeline > 1)
    throw caller_error(run.engine, "has no tensor or pipeline parallelism in this profile", "use the megatron profile");
  // A stack on DeepSpeed may run adapters on one device without it.
  const bool adapters = run.recipe.method != TuneMethod::full;
  if (stack.master_weights && (l.zero_stage > 0 || !adapters)) return deepspeed_memory(run, stack);
  refuse_offload(run, OffloadAbility::all_to_host);
  EngineRecipe recipe = with_habits(run.recipe, stack);
  recipe.grad_accum_steps = std::clamp<int64_t>(recipe.grad_accum_steps, 1, kTracedMicroBatches);
  EngineMemory memory;
  const bool gathers = l.zero_stage >= 2 && l.devices() > 1;
  if (gathers) {
    if (l.zero_stage == 3 && recipe.recompute == RecomputeKind::none && stack.keeps_gathered)
      recipe.recompute = RecomputeKind::full;
    // FSDP1 frees gathered weights when their gradient is ready; frozen ones have none and stay.
    EngineLayout layout = l;
    if (l.zero_stage == 2 || (adapters && stack.keeps_gathered)) layout.reshard_after_forward = false;
    const eager::ShardedBy by = stack.flat_shards ? eager::ShardedBy::fsdp1 : eager::ShardedBy::fsdp2;
    const eager::StepTrace trace = eager::trace_sharded_training(run.model, recipe, layout, by);
    if (l.offload_optimizer) {
      recipe.optimizer = EngineOptimizer::none;
      memory = offloaded(trace, eager::trace_sharded_training(run.model, recipe, layout, by));
    } else {
      memory = memory_of_trace(trace);
    }
  } else {
    const double ranks =
        l.shard_ranks > 0 ? static_cast<double>(l.shard_ranks) : static_cast<double>(l.data * l.context);
    memory = memory_of_trace(
        with_shares(eager::trace_training(run.model, recipe), {.optimizer_states = l.zero_stage > 0 ? 1 / ranks : 1}));
    // Its engine runs fp16 on one device, too, with its buckets.
    if (stack.master_weights && run.recipe.half_loss)
      add_throughout(memory, reduce_bucket_bytes(l.zero), &EngineMemory::activations);
    if (l.data > 1 && !adapters && l.zero_stage == 0)  // DDP's buckets
      add_throughout(memory, memory.gradients, &EngineMemory::gradients);
  }
  memory.kind = "sharded";
  add_loss_copies(memory, run, stack);
  finish_memory(memory, run, stack);
  return memory;
}

EngineMemory native_memory(const EngineRun& run, const StackMemory& stack) { return torch_memory(run, stack); }

}  // namespace plimsoll
