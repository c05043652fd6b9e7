// The two placers inside offset_allocator. Not for use elsewhere.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace plimsoll::packing {

// A buffer with bytes, in compressed time: live in [begin, end).
struct Item {
  int64_t bytes = 0;  // rounded up to the alignment
  int64_t alignment = 1;
  int32_t begin = 0;
  int32_t end = 0;
  int64_t pinned_offset = -1;  // -1: free
};

inline int64_t align_up(int64_t offset, int64_t alignment) { return (offset + alignment - 1) & -alignment; }

// offsets[i] belongs to items[i]. Items that are pinned have theirs already.
struct Placement {
  std::vector<int64_t> offsets;
  int64_t arena_bytes = 0;
};

// Each item of `order` (the free ones, once each) takes the lowest place that no earlier or pinned item uses. Adds the
// number of comparisons to `work`.
Placement place_first_fit(std::span<const Item> items, std::span<const int32_t> order, int64_t& work);

// Best fit on a skyline over time [0, time_count): always fills the lowest segment, with the item that comes first in
// `order` among those whose live range lies within the segment (Burke, Kendall, Whitwell 2004, with times that are
// fixed as in Sekiyama et al. 2018, arXiv:1804.10001). Room below pinned items is left empty. O(n log n) in practice.
Placement place_skyline(std::span<const Item> items, std::span<const int32_t> order, int32_t time_count);

}  // namespace plimsoll::packing
