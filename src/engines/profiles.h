// The engine profiles. Each takes a run on one kind of engine and gives its bytes on the rank with the most.
#pragma once

#include "engines/engine_profile.h"
#include "engines/stack_memory.h"

namespace plimsoll {

// Eager PyTorch on one device: the real sequence of a step on a tape (engines/eager).
EngineMemory torch_memory(const EngineRun& run, const StackMemory& stack);

// PyTorch modules whose states are cut over ranks: DDP and FSDP; DeepSpeed's stacks go on to the next.
EngineMemory sharded_memory(const EngineRun& run, const StackMemory& stack);

// DeepSpeed's ZeRO.
EngineMemory deepspeed_memory(const EngineRun& run, const StackMemory& stack);

// Megatron-Core and its relatives: tensor, sequence, pipeline, context and expert parallel.
EngineMemory megatron_memory(const EngineRun& run, const StackMemory& stack);

// Its two buckets of 16-bit gradients, which are made whole.
int64_t reduce_bucket_bytes(const ZeroSettings& zero);

// Engines with kernels and arenas of their own (llmq, Surogate).
EngineMemory native_memory(const EngineRun& run, const StackMemory& stack);

// Weights, cache and work of serving `micro_batch` users with `seq_len` tokens each (0: the weights only).
EngineMemory inference_memory(const EngineRun& run, const StackMemory& stack);

// What a stack does whether or not its recipe says so.
EngineRecipe with_habits(const EngineRecipe& asked, const StackMemory& stack);

void add_loss_copies(EngineMemory& memory, const EngineRun& run, const StackMemory& stack);

// Fills device_used from reserved, and the intervals of all three, half as wide as `spread` says.
void finish_memory(EngineMemory& memory, const EngineRun& run, const StackMemory& stack);

}  // namespace plimsoll
