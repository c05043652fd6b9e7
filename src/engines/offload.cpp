#include "engines/offload.h"

#include <algorithm>

#include "base/error.h"

namespace plimsoll {

void refuse_offload(const EngineRun& run, OffloadAbility ability) {
  const EngineLayout& l = run.layout;
  if (!l.offload_optimizer && !l.offload_parameters) return;
  const auto refuse = [&](const char* what, const char* way_out) { throw caller_error(run.engine, what, way_out); };
  const bool nvme = l.offload_place == OffloadPlace::nvme;
  switch (ability) {
    case OffloadAbility::none:
      return refuse("keeps nothing off the device", "use --engine deepspeed or fsdp2, or leave offload= out");
    case OffloadAbility::optimizer_to_host:
      if (l.offload_parameters) refuse("offloads optimizer states only", "write offload=optimizer");
      if (nvme) refuse("does not offload to NVMe", "write offload_to=cpu, or use --engine deepspeed");
      return;
    case OffloadAbility::all_to_host:
      if (!l.offload_optimizer || !l.offload_parameters)
        refuse("offloads weights, gradients and states together", "write offload=all");
      if (nvme) refuse("does not offload to NVMe", "write offload_to=cpu, or use --engine deepspeed");
      if (l.zero_stage < 2) refuse("offloads what it cuts", "write zero=3");
      return;
    case OffloadAbility::zero:
      if (l.zero_stage < 1) refuse("offloads with ZeRO only", "write zero=1, 2 or 3");
      if (l.offload_parameters && l.zero_stage < 3) refuse("offloads weights with ZeRO-3 only", "write zero=3");
      if (nvme && l.zero_stage < 3) refuse("offloads to NVMe with ZeRO-3 only", "write zero=3");
      return;
  }
}

void add_throughout(EngineMemory& memory, int64_t bytes, int64_t EngineMemory::*part) {
  memory.*part += bytes;
  memory.allocated.bytes += bytes;
  memory.reserved.bytes += bytes;
  for (PhasePeak& phase : memory.phases) phase.bytes = std::max<int64_t>(0, phase.bytes + bytes);
}

void move_off(EngineMemory& memory, int64_t bytes, int64_t EngineMemory::*part) {
  const int64_t there = std::min(bytes, memory.*part);
  add_throughout(memory, -there, part);
  memory.host_bytes += there;
}

}  // namespace plimsoll
