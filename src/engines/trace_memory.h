// Bytes of a traced step: the live ranges of its storages, read by memory/, and what the caching allocator reserves.
#pragma once

#include "engines/eager/train_step.h"
#include "engines/engine_profile.h"

namespace plimsoll {

// What is left of each kind on the device: 1 all, 0 nothing, 1/n a part of n.
struct DeviceShares {
  double parameters = 1, gradients = 1, shard_gradients = 1, optimizer_states = 1;
};

// The same step with states of other sizes; what is left out is not there at all.
eager::StepTrace with_shares(const eager::StepTrace& trace, const DeviceShares& shares);

// Fills allocated, reserved (values without intervals), the split at the peak, and the peaks of the phases.
EngineMemory memory_of_trace(const eager::StepTrace& trace);

}  // namespace plimsoll
