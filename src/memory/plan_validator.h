// Checks a packing of buffers without knowing how it was made. Shares data types with the planner, and no code.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "memory/offset_allocator.h"

namespace plimsoll {

// Op `time` reads or writes the buffer.
struct BufferAccess {
  int32_t buffer = 0;
  int32_t time = 0;
};

// What the validator may know beyond the buffers. All optional.
struct ValidationContext {
  std::span<const std::string> names;      // one per buffer, for the sentences; else "buffer 17"
  int32_t schedule_length = -1;            // ops in the schedule; -1: not checked
  std::span<const BufferAccess> accesses;  // every access of the schedule must lie within the live range
  size_t max_violations = 50;              // then one line says how many more there are
};

// Returns what is wrong with the packing, one sentence each, empty when it is sound. Checked: one offset per buffer;
// sizes, alignments and live ranges that make sense; live ranges within the schedule and around every access; offsets
// aligned, not negative, and the buffer inside the arena; pinned buffers in their place; no two buffers that share a
// byte and an op; the stated lower bound no less than the peak of live bytes and no more than the arena. Never throws
// for a bad packing. O(n log n).
std::vector<std::string> validate_packing(std::span<const Buffer> buffers, const Packing& packing,
                                          const ValidationContext& context = {});

}  // namespace plimsoll
