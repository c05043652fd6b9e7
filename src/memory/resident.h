// What this process uses now and what the machine has left.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace plimsoll {

struct ResidentMemory {
  int64_t now_bytes = 0;   // VmRSS
  int64_t peak_bytes = 0;  // VmHWM, the highest VmRSS since the process began
};

// Reads /proc/self/status. Allocates nothing and never throws, so it may be called on the training path; empty where
// the system has no such file. `path` is for tests.
std::optional<ResidentMemory> read_resident_memory(const char* path = "/proc/self/status") noexcept;

struct MachineMemory {
  int64_t total_bytes = 0;                    // physical, or the cgroup's limit where that is lower
  int64_t available_bytes = 0;                // what can still be taken without swapping, under both
  std::optional<int64_t> cgroup_limit_bytes;  // of a container, the lowest from this process's group to the root
  std::optional<int64_t> data_limit_bytes;    // RLIMIT_DATA, soft; empty: unlimited
};

// Reads /proc/meminfo and the memory controller of cgroup v2 or v1. Memory that a group uses for inactive file pages
// counts as available. The roots are for tests. Empty when meminfo cannot be read.
std::optional<MachineMemory> read_machine_memory(const std::string& proc_root = "/proc",
                                                 const std::string& cgroup_root = "/sys/fs/cgroup");

}  // namespace plimsoll
