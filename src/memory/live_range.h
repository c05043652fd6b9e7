// Buffers: bytes that are live over a part of a schedule, and how many of those bytes are live when.
//
// Time is the index of an op in the schedule. A buffer is live from its first use to its last, both included, so an
// op's operands and results never share bytes unless alias analysis has made them one buffer before.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace plimsoll {

struct Buffer {
  int64_t size_bytes = 0;
  int64_t alignment = 64;  // a power of two
  int32_t first = 0;       // op of the first use
  int32_t last = 0;        // op of the last use, included
  // Where the buffer already lies: persistent buffers keep their place from phase to phase.
  std::optional<int64_t> pinned_offset;
};

// What a buffer takes of an arena: its size rounded up to its alignment. Throws an internal Error for a negative size,
// an alignment that is no power of two, or an empty live range; a caller Error when the sum does not fit int64.
int64_t occupied_bytes(const Buffer& buffer);

struct LivePeak {
  int64_t bytes = 0;  // largest sum of occupied bytes live at one op
  int32_t time = 0;   // the earliest op with that sum; 0 without buffers
};

// The moment with the most live bytes. No arena that holds all buffers can be smaller than this sum. Throws a caller
// Error when the buffers together do not fit int64. O(n log n).
LivePeak find_live_peak(std::span<const Buffer> buffers);

// Indices of the buffers that are live at `time`, ascending; those with zero bytes included.
std::vector<int32_t> buffers_live_at(std::span<const Buffer> buffers, int32_t time);

}  // namespace plimsoll
