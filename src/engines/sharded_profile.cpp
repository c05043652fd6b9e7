#include <algorithm>

#include "engines/profiles.h"
#include "engines/trace_memory.h"

namespace plimsoll {

EngineMemory sharded_memory(const EngineRun& run, const StackMemory& stack) {
  EngineRecipe recipe = run.recipe;
  recipe.grad_accum_steps = std::clamp<int64_t>(recipe.grad_accum_steps, 1, 2);
  EngineMemory memory = memory_of_trace(eager::trace_sharded_training(run.model, recipe, run.layout));
  memory.kind = "sharded";
  finish_memory(memory, run, stack);
  return memory;
}
EngineMemory native_memory(const EngineRun& run, const StackMemory& stack) { return torch_memory(run, stack); }

}  // namespace plimsoll
