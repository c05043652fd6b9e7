// What this process may use of the machine it runs on.
#pragma once

#include <cstdint>
#include <string>

namespace plimsoll {

struct Machine {
  int threads = 1;              // processors: the affinity mask, and the CPU quota of the control group (rounded up)
  int64_t total_bytes = 0;      // memory: the machine's, or the control group's limit where that is lower
  int64_t available_bytes = 0;  // of it, what new allocations can get now (page cache that can be dropped included)
};

// Linux: sched_getaffinity, /proc/meminfo, control groups of version 1 and 2 up to the root, and this process's own
// limits of data and address space (/proc/self/limits), all optional. Never fails: what cannot be read does not limit,
// and memory that is unknown is 0. `root` stands before /proc and /sys.
Machine inspect_machine(const std::string& root = "");

// --memory auto: what is free, less a margin for what the system and other programs will want meanwhile.
struct AutoLine {
  int64_t free_bytes = 0, margin_bytes = 0;
  int64_t line_bytes() const { return free_bytes - margin_bytes; }
};
// A tenth, and no less than 128 MiB. A world Error where the free memory is unknown or no more than the margin.
AutoLine auto_memory_line(const Machine& machine);

// Peak resident bytes of this process so far (VmHWM); 0 where unknown.
int64_t peak_resident_bytes();

}  // namespace plimsoll
