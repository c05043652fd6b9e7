// What this process uses now.
#pragma once

#include <cstdint>
#include <optional>

namespace plimsoll {

struct ResidentMemory {
  int64_t now_bytes = 0;   // VmRSS
  int64_t peak_bytes = 0;  // VmHWM, the highest VmRSS since the process began
};

// Reads /proc/self/status. Allocates nothing and never throws, so it may be called on the training path; empty where
// the system has no such file. `path` is for tests.
std::optional<ResidentMemory> read_resident_memory(const char* path = "/proc/self/status") noexcept;

}  // namespace plimsoll
