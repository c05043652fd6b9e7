// Bytes of a traced step: the live ranges of its storages, read by memory/, and what the caching allocator reserves.
#pragma once

#include "engines/eager/train_step.h"
#include "engines/engine_profile.h"

namespace plimsoll {

// Fills allocated, reserved (values without intervals), the split at the peak, and the peaks of the phases.
EngineMemory memory_of_trace(const eager::StepTrace& trace);

}  // namespace plimsoll
