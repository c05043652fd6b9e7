#include <algorithm>

#include "base/error.h"
#include "engines/offload.h"
#include "engines/profiles.h"
#include "engines/trace_memory.h"

namespace plimsoll {
namespace {

// Micro-batches after the second repeat it: gradients are there.
constexpr int64_t kTracedMicroBatches = 2;

}  // namespace

// Copies of the logits that a stack keeps beyond transformers' own loss.
void add_loss_copies(EngineMemory& memory, const EngineRun& run, const StackMemory& stack) {
  constexpr double kTraced = 12;  // bytes of a logit at the loss's peak in the trace
  const double logits =
      static_cast<double>(run.recipe.micro_batch * run.recipe.seq_len) * static_cast<double>(run.model.vocab_size);
  const auto more = static_cast<int64_t>((stack.logit_bytes - kTraced) * logits);
  // They live at the end of the forward pass, which needn't be the peak of the step.
  int64_t loss_peak = 0;
  for (const PhasePeak& phase : memory.phases)
    if (phase.name == "forward" || more < 0) loss_peak = std::max(loss_peak, phase.bytes);
  const int64_t grown = std::max<int64_t>(0, loss_peak + more - memory.allocated.bytes);
  memory.activations += grown;
  memory.allocated.bytes += grown;
  memory.reserved.bytes += grown;
  for (PhasePeak& phase : memory.phases)
    if (phase.name == "forward") phase.bytes += std::max<int64_t>(0, more);
}

EngineRecipe with_habits(const EngineRecipe& asked, const StackMemory& stack) {
  EngineRecipe recipe = asked;
  recipe.fused_loss = recipe.fused_loss || stack.fused_loss;
  if (stack.fused_optimizer && recipe.optimizer == EngineOptimizer::adamw_foreach)
    recipe.optimizer = EngineOptimizer::adamw_fused;
  return recipe;
}

EngineMemory torch_memory(const EngineRun& run, const StackMemory& stack) {
  EngineRecipe recipe = with_habits(run.recipe, stack);
  recipe.grad_accum_steps = std::clamp<int64_t>(recipe.grad_accum_steps, 1, kTracedMicroBatches);
  if (recipe.micro_batch < 1 || recipe.seq_len < 1)
    throw caller_error("batch", "has no sequences or no tokens",
                       "give a micro-batch and a sequence length of at least 1");
  refuse_offload(run, OffloadAbility::none);
  if (recipe.step_in_backward) recipe.grad_accum_steps = 1;  // a gradient doesn't outlive its step
  EngineMemory memory = memory_of_trace(eager::trace_training(run.model, recipe));
  memory.kind = "torch";
  add_loss_copies(memory, run, stack);
  finish_memory(memory, run, stack);
  return memory;
}

void finish_memory(EngineMemory& memory, const EngineRun& run, const StackMemory& stack) {
  // What a process holds on its device beside the allocator: the driver's context with the kernels that are loaded,
  // and the buffers of each communicator.
  const EngineLayout& l = run.layout;
  const auto groups = static_cast<double>((l.data > 1 ? 1 : 0) + (l.tensor > 1 ? 1 : 0) + (l.pipeline > 1 ? 1 : 0) +
                                          (l.context > 1 ? 1 : 0) + (l.expert > 1 ? 1 : 0));
  const double outside = stack.context_bytes + groups * memory_constant("communicator_bytes");
  memory.device_used.bytes = memory.reserved.bytes + static_cast<int64_t>(outside);
  for (ByteInterval* figure : {&memory.allocated, &memory.reserved, &memory.device_used}) {
    const auto half = static_cast<int64_t>(stack.spread * static_cast<double>(figure->bytes));
    figure->low = figure->bytes - half;
    figure->high = figure->bytes + half;
  }
}

}  // namespace plimsoll
