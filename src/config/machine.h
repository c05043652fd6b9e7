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

// Linux: sched_getaffinity, /proc/meminfo, and control groups of version 1 and 2 up to the root, all optional. Never
// fails: what cannot be read does not limit, and memory that is unknown is 0. `root` stands before /proc and /sys.
Machine inspect_machine(const std::string& root = "");

// Peak resident bytes of this process so far (VmHWM); 0 where unknown.
int64_t peak_resident_bytes();

}  // namespace plimsoll
