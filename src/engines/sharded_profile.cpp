#include "engines/profiles.h"

namespace plimsoll {

EngineMemory sharded_memory(const EngineRun& run, const StackMemory& stack) { return torch_memory(run, stack); }
EngineMemory megatron_memory(const EngineRun& run, const StackMemory& stack) { return torch_memory(run, stack); }
EngineMemory native_memory(const EngineRun& run, const StackMemory& stack) { return torch_memory(run, stack); }

}  // namespace plimsoll
