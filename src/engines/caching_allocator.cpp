#include "engines/caching_allocator.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {
namespace {

constexpr int64_t kMinBlock = 512;
constexpr int64_t kSmallRequest = kMiB;  // at most: from the small pool
constexpr int64_t kSmallSegment = 2 * kMiB;
constexpr int64_t kLargeSegment = 20 * kMiB;  // for requests below kMinLargeRequest
constexpr int64_t kMinLargeRequest = 10 * kMiB;
constexpr int64_t kSegmentStep = 2 * kMiB;

int64_t segment_bytes(int64_t size) {
  if (size <= kSmallRequest) return kSmallSegment;
  if (size < kMinLargeRequest) return kLargeSegment;
  return round_up(size, kSegmentStep);
}

}  // namespace

void CachingAllocator::allocate(int32_t id, int64_t bytes) {
  const int64_t size = std::max(kMinBlock, round_up(bytes, kMinBlock));
  const bool small = size <= kSmallRequest;
  Free& pool = small ? small_ : large_;
  auto found = pool.lower_bound({size, -1});
  int64_t address = 0;
  if (found == pool.end()) {
    address = next_segment_;
    const int64_t segment = segment_bytes(size);
    next_segment_ += segment + kSegmentStep;  // segments never touch
    reserved_ += segment;
    blocks_[address] = {.size = segment, .small = small};
  } else {
    address = found->second;
    pool.erase(found);
  }
  Block& block = blocks_[address];
  block.free = false;
  const int64_t rest = block.size - size;
  if (small ? rest >= kMinBlock : rest > kSmallRequest) {
    const int64_t after = block.next;
    const int64_t split = address + size;
    block.size = size;
    block.next = split;
    blocks_[split] = {.size = rest, .small = small, .free = true, .previous = address, .next = after};
    if (after >= 0) blocks_[after].previous = split;
    pool.insert({rest, split});
  }
  addresses_[id] = address;
  allocated_ += blocks_[address].size;
  peak_allocated_ = std::max(peak_allocated_, allocated_);
}

void CachingAllocator::free(int32_t id) {
  const auto found = addresses_.find(id);
  PLIMSOLL_CHECK(found != addresses_.end(), "freed what was not allocated");
  int64_t address = found->second;
  addresses_.erase(found);
  Block block = blocks_[address];
  Free& pool = block.small ? small_ : large_;
  allocated_ -= block.size;
  block.free = true;
  if (block.next >= 0 && blocks_[block.next].free) {
    const Block next = blocks_[block.next];
    pool.erase({next.size, block.next});
    blocks_.erase(block.next);
    block.size += next.size;
    block.next = next.next;
    if (block.next >= 0) blocks_[block.next].previous = address;
  }
  if (block.previous >= 0 && blocks_[block.previous].free) {
    const int64_t before = block.previous;
    Block previous = blocks_[before];
    pool.erase({previous.size, before});
    blocks_.erase(address);
    previous.size += block.size;
    previous.next = block.next;
    if (previous.next >= 0) blocks_[previous.next].previous = before;
    block = previous;
    address = before;
  }
  blocks_[address] = block;
  pool.insert({block.size, address});
}

int64_t reserved_bytes(std::span<const eager::Event> events) {
  CachingAllocator allocator;
  for (const eager::Event& event : events) {
    if (event.bytes > 0) allocator.allocate(event.storage, event.bytes);
    else allocator.free(event.storage);
  }
  return allocator.reserved_bytes();
}

}  // namespace plimsoll
