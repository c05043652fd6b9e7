#include "engines/caching_allocator.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace plimsoll {
namespace {

// The figures follow by hand from the rules in the header.
TEST(CachingAllocator, SmallRequestsShareASegment) {
  CachingAllocator allocator;
  allocator.allocate(0, 1);
  EXPECT_EQ(allocator.allocated_bytes(), 512);
  EXPECT_EQ(allocator.reserved_bytes(), 2 * kMiB);
  allocator.allocate(1, kMiB);
  EXPECT_EQ(allocator.reserved_bytes(), 2 * kMiB);  // both fit into one
  allocator.allocate(2, kMiB);
  EXPECT_EQ(allocator.reserved_bytes(), 4 * kMiB);
}

TEST(CachingAllocator, SegmentsByTheSizeOfTheRequest) {
  CachingAllocator allocator;
  allocator.allocate(0, kMiB + 1);  // large, below 10 MiB: a segment of 20 MiB
  EXPECT_EQ(allocator.reserved_bytes(), 20 * kMiB);
  allocator.allocate(1, 10 * kMiB);  // the rest of it is large enough
  EXPECT_EQ(allocator.reserved_bytes(), 20 * kMiB);
  allocator.allocate(2, 10 * kMiB);  // a segment of its own
  EXPECT_EQ(allocator.reserved_bytes(), 30 * kMiB);
  allocator.allocate(3, 11 * kMiB + 1);  // rounded up to 2 MiB
  EXPECT_EQ(allocator.reserved_bytes(), 42 * kMiB);
}

TEST(CachingAllocator, ABlockIsSplitOnlyWhenMoreThanOneMiBIsLeft) {
  CachingAllocator allocator;
  allocator.allocate(0, 20 * kMiB);
  allocator.free(0);
  allocator.allocate(1, 19 * kMiB);  // 1 MiB is left: taken whole
  EXPECT_EQ(allocator.allocated_bytes(), 20 * kMiB);
  allocator.free(1);
  allocator.allocate(2, 18 * kMiB);  // 2 MiB are left: split
  EXPECT_EQ(allocator.allocated_bytes(), 18 * kMiB);
  EXPECT_EQ(allocator.reserved_bytes(), 20 * kMiB);
}

TEST(CachingAllocator, FreedNeighboursMerge) {
  CachingAllocator allocator;
  for (int32_t i = 0; i < 4; ++i) allocator.allocate(i, 5 * kMiB);  // one segment of 20 MiB
  EXPECT_EQ(allocator.reserved_bytes(), 20 * kMiB);
  allocator.free(1);
  allocator.free(3);
  allocator.allocate(4, 8 * kMiB);  // holes of 5: a new segment
  EXPECT_EQ(allocator.reserved_bytes(), 40 * kMiB);
  allocator.free(2);  // 1, 2 and 3 are one hole of 15
  allocator.allocate(5, 15 * kMiB);
  EXPECT_EQ(allocator.reserved_bytes(), 40 * kMiB);
  EXPECT_EQ(allocator.peak_allocated_bytes(), 28 * kMiB);
}

TEST(CachingAllocator, TheSmallestBlockThatFitsIsTaken) {
  CachingAllocator allocator;
  allocator.allocate(0, 30 * kMiB);
  allocator.allocate(1, 12 * kMiB);
  allocator.free(0);
  allocator.free(1);
  allocator.allocate(2, 12 * kMiB);  // the block of 12, not a part of the 30
  allocator.allocate(3, 30 * kMiB);
  EXPECT_EQ(allocator.reserved_bytes(), 42 * kMiB);
}

TEST(CachingAllocator, ReplaysEvents) {
  const eager::Event events[] = {{0, 3 * kMiB, 0}, {1, 700, 0}, {0, -3 * kMiB, 0}, {2, 2 * kMiB, 0}};
  EXPECT_EQ(reserved_bytes(events), 22 * kMiB);
}

}  // namespace
}  // namespace plimsoll
