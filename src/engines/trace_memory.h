// Bytes of a traced step: the live ranges of its storages, read by memory/, and what the caching allocator reserves.
#pragma once

#include "engines/eager/train_step.h"
#include "engines/engine_profile.h"

namespace plimsoll {

// One buffer a storage that lives in the measured step; time is the index of the event from there on. Sizes are exact
// (alignment 1).
std::vector<Buffer> live_buffers(const eager::StepTrace& trace);

// Fills allocated, reserved (values without intervals), the split at the peak, and the peaks of the phases.
EngineMemory memory_of_trace(const eager::StepTrace& trace);

}  // namespace plimsoll
