// DeepSpeed's ZeRO (deepspeed/runtime/zero, version 0.18): its engine runs modules in the weights' type and keeps f32
// masters and moments of what is trained, cut over the ranks from stage 1 on, and a rank's gradients in f32 for the
// update.
//
// Stages 0 to 2 run the modules as on one device. Gradients go through two buckets of reduce_bucket_size while the next
// is filled (overlap_comm); gathering the updated weights after a step goes piece by piece into the weights themselves.
// Stage 3 is traced with its fetches (eager/fsdp2.h); gradients of a rank's part add up in 16 bits, and the step widens
// sub_group_size of them at a time.
//
// Offloaded states (12 bytes of a value), gradients in f32, and the sums in 16 bits wait on the host; on NVMe are the
// states with their gradients, behind buffer_count buffers of a sub-group. Offloaded weights: a rank's part in 16 bits;
// on NVMe what is beyond max_in_cpu, behind buffer_count buffers of buffer_size.
#include <algorithm>

#include "base/error.h"
#include "engines/offload.h"
#include "engines/profiles.h"
#include "engines/trace_memory.h"

namespace plimsoll {
namespace {

constexpr int64_t kTracedMicroBatches = 2;
constexpr int64_t kHalf = 2, kMaster = 4, kMoments = 8;  // bytes of a value
constexpr int64_t kReduceBuckets = 2;

// The master, and what the optimizer keeps beside it.
int64_t state_bytes(EngineOptimizer optimizer) {
  switch (optimizer) {
    case EngineOptimizer::adamw_8bit:
      return kMaster + 2;
    case EngineOptimizer::sgd_momentum_foreach:
      return kMaster + 4;
    case EngineOptimizer::sgd_foreach:
      return kMaster;
    default:
      return kMaster + kMoments;
  }
}

int64_t trained_values(const ModelConfig& model, const EngineRecipe& recipe) {
  EngineRecipe one = recipe;
  one.micro_batch = one.seq_len = one.grad_accum_steps = 1;
  return eager::trained_parameters(model, one);
}

// transformers fills in "auto" from the hidden size (transformers/integrations/deepspeed.py).
ZeroSettings settings_of(const EngineRun& run, const StackMemory& stack) {
  ZeroSettings zero = run.layout.zero;
  if (!stack.zero_auto || run.layout.zero_stage < 3) return zero;
  const ZeroSettings defaults;
  const int64_t h = run.model.hidden_size;
  if (zero.prefetch == defaults.prefetch) zero.prefetch = 9 * h * h / 10;
  if (zero.persistence == defaults.persistence) zero.persistence = 10 * h;
  if (zero.reduce_bucket == defaults.reduce_bucket) zero.reduce_bucket = h * h;
  return zero;
}

void offload_states(EngineMemory& memory, const EngineLayout& l, const ZeroSettings& zero, int64_t part,
                    int64_t states) {
  if (l.offload_place == OffloadPlace::nvme) {
    const int64_t group = std::min(part, zero.sub_group);
    memory.nvme_bytes += (states + kMaster) * part;
    memory.pinned_bytes += zero.optimizer_buffers * group * kMaster;
    memory.host_bytes += zero.optimizer_buffers * group * kMaster;
  } else {
    memory.host_bytes += (states + kMaster) * part;
  }
  if (l.zero_stage == 3) move_off(memory, kHalf * part, &EngineMemory::gradients);
}

void offload_weights(EngineMemory& memory, const EngineLayout& l, const ZeroSettings& zero) {
  const int64_t part = memory.parameters;
  move_off(memory, part, &EngineMemory::parameters);
  if (l.offload_place != OffloadPlace::nvme) return;
  const int64_t stays = std::min(part, kHalf * zero.parameters_in_host);
  const int64_t buffers = zero.parameter_buffers * zero.parameter_buffer * kHalf;
  memory.nvme_bytes += part - stays;
  memory.host_bytes += stays - part + buffers;
  memory.pinned_bytes += buffers;
}

}  // namespace

int64_t reduce_bucket_bytes(const ZeroSettings& zero) { return kReduceBuckets * zero.reduce_bucket * kHalf; }

EngineMemory deepspeed_memory(const EngineRun& run, const StackMemory& stack) {
  refuse_offload(run, OffloadAbility::zero);
  EngineRecipe recipe = with_habits(run.recipe, stack);
  recipe.grad_accum_steps = std::clamp<int64_t>(recipe.grad_accum_steps, 1, kTracedMicroBatches);
  const int64_t states = state_bytes(recipe.optimizer);
  const bool adam =
      recipe.optimizer == EngineOptimizer::adamw_foreach || recipe.optimizer == EngineOptimizer::adamw_fused;
  if (run.layout.offload_optimizer && !adam)
    throw caller_error(run.engine, "steps offloaded states with Adam", "--optimizer adamw, or leave offload= out");
  recipe.optimizer = EngineOptimizer::none;
  EngineLayout l = run.layout;
  l.zero = settings_of(run, stack);
  const bool gathers = l.zero_stage == 3 && l.devices() > 1;
  const int64_t ranks = l.zero_stage == 0 ? 1 : l.shard_ranks > 0 ? l.shard_ranks : l.data * l.context;
  const int64_t part = (trained_values(run.model, run.recipe) + ranks - 1) / ranks;
  EngineMemory memory;
  if (gathers) {
    memory = memory_of_trace(eager::trace_sharded_training(run.model, recipe, l, eager::ShardedBy::deepspeed));
  } else {
    DeviceShares shares;
    if (l.zero_stage >= 2) shares.gradients = 1.0 / static_cast<double>(ranks);
    memory = memory_of_trace(with_shares(eager::trace_training(run.model, recipe), shares));
    add_throughout(memory, reduce_bucket_bytes(l.zero), &EngineMemory::activations);
  }
  // The step: sums of gradients, and what of them is wide at a time. Before stage 3 a rank's whole part is.
  if (l.offload_optimizer) {
    offload_states(memory, l, l.zero, part, states);
  } else {
    add_throughout(memory, states * part + (gathers ? 0 : kMaster * part), &EngineMemory::optimizer_state);
    const int64_t wide = gathers ? kMaster * std::min(part, l.zero.sub_group) : 0;
    const int64_t step = memory.parameters + memory.gradients + memory.optimizer_state + wide;
    for (PhasePeak& phase : memory.phases)
      if (phase.name == "step") phase.bytes = std::max(phase.bytes, step);
    if (step > memory.allocated.bytes) {
      memory.reserved.bytes += step - memory.allocated.bytes;
      memory.allocated.bytes = step;
      memory.activations = wide;
      memory.peak_phase = "step";
      memory.peak_op = "gradients of a sub-group in f32";
    }
  }
  if (l.offload_parameters) offload_weights(memory, l, l.zero);
  memory.kind = "deepspeed";
  add_loss_copies(memory, run, stack);
  finish_memory(memory, run, stack);
  return memory;
}

}  // namespace plimsoll
