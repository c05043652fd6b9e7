// States and weights that an engine keeps off the device: on the host, or on NVMe behind buffers on the host.
#pragma once

#include "engines/engine_profile.h"

namespace plimsoll {

enum class OffloadAbility {
  none,
  optimizer_to_host,  // Megatron's --optimizer-cpu-offload
  all_to_host,        // PyTorch's FSDP: weights, gradients and states together
  zero,               // DeepSpeed: states from ZeRO-1 on, weights with ZeRO-3; NVMe with ZeRO-3
};

// Throws a caller Error where the layout asks for more.
void refuse_offload(const EngineRun& run, OffloadAbility ability);

// Adds bytes that are there throughout the step (or takes them off) to the figures, the phases and a part at the peak.
void add_throughout(EngineMemory& memory, int64_t bytes, int64_t EngineMemory::*part);

// Takes bytes off the device's figures and out of one of the parts at the peak, and puts them on the host.
void move_off(EngineMemory& memory, int64_t bytes, int64_t EngineMemory::*part);

}  // namespace plimsoll
