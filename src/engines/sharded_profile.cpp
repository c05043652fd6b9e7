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

// CPUOffloadPolicy (torch.distributed.fsdp): shards, their gradients and states live on the host, pinned; the device
// has the groups that are gathered, and one group's gradients on their way. At the device's peak gradients may not be
// there yet.
void offload_all(EngineMemory& memory, const EngineRun& run) {
  EngineRecipe one = run.recipe;
  one.micro_batch = one.seq_len = one.grad_accum_steps = 1;
  const EngineLayout& l = run.layout;
  const int64_t ranks = l.shard_ranks > 0 ? l.shard_ranks : l.data * l.context;
  const int64_t width = run.recipe.weights == WeightFormat::f32 ? 4 : 2;
  const int64_t gradients = width * eager::trained_parameters(run.model, one) / ranks;
  move_off(memory, memory.parameters, &EngineMemory::parameters);
  const int64_t later = std::max<int64_t>(0, gradients - memory.gradients);
  move_off(memory, memory.gradients, &EngineMemory::gradients);
  move_off(memory, memory.optimizer_state, &EngineMemory::optimizer_state);
  memory.host_bytes += later;
  memory.pinned_bytes = memory.host_bytes;
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
    memory = memory_of_trace(eager::trace_sharded_training(
        run.model, recipe, layout, stack.flat_shards ? eager::ShardedBy::fsdp1 : eager::ShardedBy::fsdp2));
  } else {
    memory = memory_of_trace(eager::trace_training(run.model, recipe));
    const double ranks =
        l.shard_ranks > 0 ? static_cast<double>(l.shard_ranks) : static_cast<double>(l.data * l.context);
    double more = 0;
    // Its engine runs fp16 on one device, too, with its buckets.
    if (stack.master_weights && run.recipe.half_loss) more += static_cast<double>(reduce_bucket_bytes(l.zero));
    if (l.zero_stage > 0) more -= static_cast<double>(memory.optimizer_state) * (1 - 1 / ranks);
    if (l.data > 1 && !adapters && l.zero_stage == 0) more += static_cast<double>(memory.gradients);  // DDP's buckets
    memory.optimizer_state += static_cast<int64_t>(more);
    memory.allocated.bytes += static_cast<int64_t>(more);
    memory.reserved.bytes += static_cast<int64_t>(more);
  }
  if (l.offload_optimizer) offload_all(memory, run);
  memory.kind = "sharded";
  add_loss_copies(memory, run, stack);
  finish_memory(memory, run, stack);
  return memory;
}

EngineMemory native_memory(const EngineRun& run, const StackMemory& stack) { return torch_memory(run, stack); }

}  // namespace plimsoll
