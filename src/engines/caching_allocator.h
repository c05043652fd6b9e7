// PyTorch's CUDA caching allocator, as far as sizes go (c10/cuda/CUDACachingAllocator): what it reserves for a sequence
// of births and deaths. Requests round up to 512 bytes. Up to 1 MiB they share segments of 2 MiB; larger ones take
// segments of 20 MiB, and from 10 MiB on segments of their own size, rounded up to 2 MiB. The smallest free block that
// is large enough is taken (the lowest address among equals) and split when enough is left over; freed neighbours
// merge; nothing is given back.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "engines/eager/tape.h"

namespace plimsoll {

class CachingAllocator {
 public:
  void allocate(int32_t id, int64_t bytes);  // an id lives once at a time
  void free(int32_t id);

  int64_t reserved_bytes() const { return reserved_; }    // now, which is also the most so far
  int64_t allocated_bytes() const { return allocated_; }  // now, rounded
  int64_t peak_allocated_bytes() const { return peak_allocated_; }

 private:
  struct Block {
    int64_t size = 0;
    bool small = false, free = true;
    int64_t previous = -1, next = -1;  // neighbours in the segment, by address; -1: none
  };
  using Free = std::set<std::pair<int64_t, int64_t>>;  // size, address

  std::unordered_map<int64_t, Block> blocks_;  // by address
  Free small_, large_;
  std::unordered_map<int32_t, int64_t> addresses_;
  int64_t reserved_ = 0, allocated_ = 0, peak_allocated_ = 0, next_segment_ = 0;
};

// The most that the allocator reserves over all events.
int64_t reserved_bytes(std::span<const eager::Event> events);

}  // namespace plimsoll
