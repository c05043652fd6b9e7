// Places buffers in one arena: dynamic storage allocation with all live ranges known beforehand.
//
// Knows nothing of graphs or models, only of buffers. Several orders are packed by two placers (a skyline over time,
// and first fit in a given order), the smallest arena is kept, and then the order is improved: buffers that stick out
// above the lower bound are moved forward and everything is packed again, for a fixed amount of work. The same input
// gives the same offsets on every machine; there is no clock and no random device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "memory/live_range.h"

namespace plimsoll {

struct Packing {
  std::vector<int64_t> offsets;   // one per buffer, a multiple of its alignment; 0 for buffers without bytes
  int64_t arena_bytes = 0;        // the highest end of a buffer, counted with its size rounded up to its alignment
  int64_t lower_bound_bytes = 0;  // no packing can be smaller: the peak of live bytes, or the end of a pinned buffer
};

// Pinned buffers keep their offset, the others avoid them. Throws an internal Error when two pinned buffers collide or
// one is badly aligned or below 0 (the earlier plan is broken), and the errors of find_live_peak.
//
// Pure: safe from any thread. Time about O(n log n) where the skyline meets the bound, as it does for the buffers of
// training steps; the improvement is bounded by a count of comparisons.
Packing pack_buffers(std::span<const Buffer> buffers);

}  // namespace plimsoll
