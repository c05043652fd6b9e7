#include "engines/engine_profile.h"

#include "engines/profiles.h"
#include "engines/stack_memory.h"

namespace plimsoll {

EngineMemory estimate_engine_memory(const EngineRun& run) {
  const StackMemory& stack = stack_memory(run.engine);
  if (run.serves) return inference_memory(run, stack);
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
