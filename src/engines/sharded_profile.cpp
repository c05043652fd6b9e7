// PyTorch modules with states over several ranks: DDP, FSDP, and DeepSpeed's ZeRO.
//
// FSDP with everything sharded is traced with its own hooks. The others run the modules as on one device: their trace
// is taken, and what is cut over ranks is counted at its share.
#include <algorithm>

#include "base/error.h"
#include "engines/profiles.h"
#include "engines/trace_memory.h"

namespace plimsoll {
namespace {

constexpr int64_t kTracedMicroBatches = 2;

int64_t trained_values(const ModelConfig& model, const EngineRecipe& recipe) {
  EngineRecipe one = recipe;
  one.micro_batch = one.seq_len = one.grad_accum_steps = 1;
  return eager::trained_parameters(model, one);
}

}  // namespace

EngineMemory sharded_memory(const EngineRun& run, const StackMemory& stack) {
  EngineRecipe recipe = with_habits(run.recipe, stack);
  recipe.grad_accum_steps = std::clamp<int64_t>(recipe.grad_accum_steps, 1, kTracedMicroBatches);
  const EngineLayout& l = run.layout;
  if (l.tensor > 1 || l.pipeline > 1)
    throw caller_error(run.engine, "has no tensor or pipeline parallelism in this profile", "use the megatron profile");
  EngineMemory memory;
  const bool adapters = recipe.method != TuneMethod::full;
  const bool gathers = l.zero_stage == 3 && l.devices() > 1;
  if (gathers && recipe.recompute == RecomputeKind::none && stack.keeps_gathered)
    recipe.recompute = RecomputeKind::full;
  // A stack on DeepSpeed may run adapters on one device without it.
  const bool masters = stack.master_weights && (l.zero_stage > 0 || !adapters);
  if (gathers && !masters) {
    // FSDP1 frees gathered weights when their gradient is ready; frozen ones have none and stay.
    EngineLayout layout = l;
    if (adapters && stack.keeps_gathered) layout.reshard_after_forward = false;
    memory = memory_of_trace(eager::trace_sharded_training(run.model, recipe, layout));
  } else {
    // DeepSpeed keeps f32 masters and moments of what is trained, cut over the ranks from stage 1 on.
    EngineRecipe plain = recipe;
    if (masters) plain.optimizer = EngineOptimizer::none;
    memory = memory_of_trace(gathers ? eager::trace_sharded_training(run.model, plain, l)
                                     : eager::trace_training(run.model, plain));
    const double ranks =
        l.shard_ranks > 0 ? static_cast<double>(l.shard_ranks) : static_cast<double>(l.data * l.context);
    const double cut = l.zero_stage > 0 ? 1 / ranks : 1;
    double more = 0;
    if (masters) {
      const auto values = static_cast<double>(trained_values(run.model, recipe));
      // Master, two moments; before stage 3 the gradients of a rank's part in f32, too.
      more += (l.zero_stage == 3 && gathers ? 12 : 16) * values * cut;
    } else {
      more -= static_cast<double>(memory.optimizer_state) * (1 - cut);
    }
    // Before stage 3 its engine makes two buckets for reductions, whole whatever the gradients are.
    if (stack.master_weights && !gathers && (l.zero_stage > 0 || !adapters || recipe.half_loss))
      more += memory_constant("zero_bucket_bytes");
    if (l.zero_stage >= 2 && !gathers) more -= static_cast<double>(memory.gradients) * (1 - cut);
    if (l.data > 1 && !adapters && l.zero_stage == 0) more += static_cast<double>(memory.gradients);  // DDP's buckets
    memory.optimizer_state += static_cast<int64_t>(more);
    memory.allocated.bytes += static_cast<int64_t>(more);
    memory.reserved.bytes += static_cast<int64_t>(more);
  }
  if (l.offload_optimizer) {
    memory.host_bytes += memory.optimizer_state;
    memory.allocated.bytes -= memory.optimizer_state;
    memory.reserved.bytes -= memory.optimizer_state;
    memory.optimizer_state = 0;
  }
  if (l.offload_parameters) {
    memory.host_bytes += memory.parameters;
    memory.allocated.bytes -= memory.parameters;
    memory.reserved.bytes -= memory.parameters;
    memory.parameters = 0;
  }
  memory.kind = "sharded";
  add_loss_copies(memory, run, stack);
  finish_memory(memory, run, stack);
  return memory;
}

EngineMemory native_memory(const EngineRun& run, const StackMemory& stack) { return torch_memory(run, stack); }

}  // namespace plimsoll
