// Intel AMX, as far as this process may use it.
#pragma once

namespace plimsoll::cpu {

// The kernel gives a process the tile registers on request only: the first call asks. oneDNN's view of the CPU counts,
// too, so that its environment variable ONEDNN_MAX_CPU_ISA limits us.
bool may_use_amx();

}  // namespace plimsoll::cpu
