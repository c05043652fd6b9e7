#include "memory/offset_allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/bytes.h"
#include "base/error.h"
#include "memory/plan_validator.h"
#include "support/training_buffers.h"

namespace plimsoll {
namespace {

std::string first_violation(const std::vector<Buffer>& buffers, const Packing& packing) {
  const std::vector<std::string> violations = validate_packing(buffers, packing);
  return violations.empty() ? "" : violations.front();
}

// The smallest arena there is: some order of first fit reaches it, since an optimal packing, taken from the bottom up,
// can only sink.
int64_t brute_force_arena(const std::vector<Buffer>& buffers) {
  std::vector<size_t> order;
  for (size_t i = 0; i < buffers.size(); ++i)
    if (!buffers[i].pinned_offset) order.push_back(i);
  int64_t best = std::numeric_limits<int64_t>::max();
  do {
    std::vector<int64_t> offsets(buffers.size(), -1);
    int64_t arena = 0;
    for (size_t i = 0; i < buffers.size(); ++i)
      if (buffers[i].pinned_offset) {
        offsets[i] = *buffers[i].pinned_offset;
        arena = std::max(arena, offsets[i] + occupied_bytes(buffers[i]));
      }
    for (const size_t i : order) {
      int64_t offset = 0;
      for (bool moved = true; moved;) {
        moved = false;
        for (size_t j = 0; j < buffers.size(); ++j) {
          if (offsets[j] < 0 || buffers[j].first > buffers[i].last || buffers[i].first > buffers[j].last) continue;
          const int64_t end = offsets[j] + occupied_bytes(buffers[j]);
          if (offset >= end || offsets[j] >= offset + occupied_bytes(buffers[i]) || buffers[i].size_bytes == 0)
            continue;
          offset = round_up(end, buffers[i].alignment);
          moved = true;
        }
      }
      offsets[i] = offset;
      arena = std::max(arena, offset + occupied_bytes(buffers[i]));
    }
    best = std::min(best, arena);
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

TEST(OffsetAllocator, NoBuffers) {
  const Packing packing = pack_buffers({});
  EXPECT_EQ(packing.arena_bytes, 0);
  EXPECT_EQ(packing.lower_bound_bytes, 0);
}

TEST(OffsetAllocator, BuffersThatNeverMeetShareTheirPlace) {
  const std::vector<Buffer> buffers = {{100, 64, 0, 1, {}}, {128, 64, 2, 3, {}}, {10, 64, 4, 4, {}}};
  const Packing packing = pack_buffers(buffers);
  EXPECT_EQ(packing.offsets, (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(packing.arena_bytes, 128);
}

TEST(OffsetAllocator, LastUseIsIncluded) {
  const std::vector<Buffer> buffers = {{64, 64, 0, 2, {}}, {64, 64, 2, 3, {}}};
  EXPECT_EQ(pack_buffers(buffers).arena_bytes, 128);
}

TEST(OffsetAllocator, EmptyBuffersTakeNothing) {
  const std::vector<Buffer> buffers = {{0, 64, 0, 9, {}}, {64, 64, 0, 9, {}}, {0, 4096, 3, 3, {}}, {64, 64, 2, 2, {}}};
  const Packing packing = pack_buffers(buffers);
  EXPECT_EQ(packing.arena_bytes, 128);
  EXPECT_EQ(first_violation(buffers, packing), "");
}

TEST(OffsetAllocator, TinyInstancesAgainstEveryOrder) {
  int optimal = 0;
  constexpr int kInstances = 400;
  for (uint64_t seed = 0; seed < kInstances; ++seed) {
    std::vector<Buffer> buffers = random_buffers(seed, 3 + static_cast<int>(seed % 5), 8, 40, 5);
    if (seed % 3 == 0) {  // one pinned
      buffers[0].pinned_offset = static_cast<int64_t>(seed % 7) * buffers[0].alignment;
    }
    const Packing packing = pack_buffers(buffers);
    ASSERT_EQ(first_violation(buffers, packing), "") << seed;
    const int64_t best = brute_force_arena(buffers);
    ASSERT_LE(packing.lower_bound_bytes, best) << seed;
    ASSERT_GE(packing.arena_bytes, best) << seed;
    ASSERT_LE(packing.arena_bytes, best + best / 4) << seed;
    if (packing.arena_bytes == best) ++optimal;
  }
  EXPECT_GE(optimal, kInstances * 99 / 100);
}

TEST(OffsetAllocator, RandomInstancesAreSound) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const int count = 10 + static_cast<int>(seed * 7);
    std::vector<Buffer> buffers = random_buffers(1000 + seed, count, 100, 5000, static_cast<int32_t>(1 + seed * 2));
    const Packing free_packing = pack_buffers(buffers);
    ASSERT_EQ(first_violation(buffers, free_packing), "") << seed;
    ASSERT_LE(static_cast<double>(free_packing.arena_bytes), 1.12 * static_cast<double>(free_packing.lower_bound_bytes))
        << seed;
    // Pin a third of them where they lie, and pack the rest around them.
    for (size_t i = 0; i < buffers.size(); i += 3) buffers[i].pinned_offset = free_packing.offsets[i];
    const Packing pinned_packing = pack_buffers(buffers);
    ASSERT_EQ(first_violation(buffers, pinned_packing), "") << seed;
    ASSERT_LE(static_cast<double>(pinned_packing.arena_bytes), 1.25 * static_cast<double>(free_packing.arena_bytes))
        << seed;
  }
}

TEST(OffsetAllocator, SameInputSameOffsets) {
  const std::vector<Buffer> buffers = random_buffers(7, 400, 300, 100000, 40);
  const Packing once = pack_buffers(buffers), again = pack_buffers(buffers);
  EXPECT_EQ(once.offsets, again.offsets);
  EXPECT_EQ(once.arena_bytes, again.arena_bytes);
}

TEST(OffsetAllocator, TrainingStepsMeetTheLowerBound) {
  for (const bool weights : {true, false})
    for (const bool full : {false, true})
      for (const int recompute : {0, 10, 29, 30})
        for (const int64_t chunk : {64, 256, 2048}) {
          StepShape shape;
          shape.weights_as_buffers = weights;
          shape.gradients_full = full;
          shape.recompute_layers = recompute;
          shape.ce_chunk_rows = chunk;
          const std::vector<Buffer> buffers = training_step(shape);
          const Packing packing = pack_buffers(buffers);
          EXPECT_EQ(packing.arena_bytes, packing.lower_bound_bytes)
              << "weights " << weights << " full " << full << " recompute " << recompute << " chunk " << chunk;
          EXPECT_EQ(first_violation(buffers, packing), "");
        }
}

TEST(OffsetAllocator, TwentyThousandBuffersOfADeepModelMeetTheLowerBound) {
  StepShape shape;
  shape.layers = 250;
  shape.recompute_layers = 100;
  const std::vector<Buffer> buffers = training_step(shape);
  ASSERT_GT(buffers.size(), 20000U);
  const Packing packing = pack_buffers(buffers);
  EXPECT_EQ(packing.arena_bytes, packing.lower_bound_bytes);
  EXPECT_EQ(first_violation(buffers, packing), "");
}

TEST(OffsetAllocator, PersistentBuffersKeepTheirPlaceInTheNextPhase) {
  StepShape shape;
  std::vector<Buffer> buffers = training_step(shape);
  int32_t end = 0;
  for (const Buffer& buffer : buffers) end = std::max(end, buffer.last);
  const Packing training = pack_buffers(buffers);
  for (size_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].first == 0 && buffers[i].last == end) buffers[i].pinned_offset = training.offsets[i];
  const Packing next = pack_buffers(buffers);
  EXPECT_EQ(first_violation(buffers, next), "");
  EXPECT_EQ(next.arena_bytes, next.lower_bound_bytes);
}

TEST(OffsetAllocator, HugeModelsFit) {
  StepShape shape;  // the shape of a 405 B model
  shape.layers = 126;
  shape.hidden = 16384;
  shape.intermediate = 53248;
  shape.heads = 128;
  shape.kv_heads = 8;
  shape.head_dim = 128;
  shape.vocab = 128256;
  shape.gradients_full = true;
  shape.recompute_layers = 126;
  const std::vector<Buffer> buffers = training_step(shape);
  const Packing packing = pack_buffers(buffers);
  EXPECT_GT(packing.arena_bytes, int64_t{1} << 42);
  EXPECT_EQ(packing.arena_bytes, packing.lower_bound_bytes);
  EXPECT_EQ(first_violation(buffers, packing), "");
}

TEST(OffsetAllocator, SumsBeyondInt64AreRefused) {
  const int64_t half = int64_t{1} << 62;
  const auto kind_of = [](const std::vector<Buffer>& buffers) {
    try {
      pack_buffers(buffers);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::does_not_fit;
  };
  EXPECT_EQ(kind_of({{half, 64, 0, 1, {}}, {half, 64, 1, 2, {}}}), ErrorKind::caller);
  EXPECT_EQ(kind_of({{std::numeric_limits<int64_t>::max(), 64, 0, 1, {}}}), ErrorKind::caller);
  EXPECT_EQ(kind_of({{-1, 64, 0, 1, {}}}), ErrorKind::internal);
  EXPECT_EQ(kind_of({{1, 48, 0, 1, {}}}), ErrorKind::internal);
  EXPECT_EQ(kind_of({{1, 64, 2, 1, {}}}), ErrorKind::internal);
  EXPECT_EQ(kind_of({{1, 64, 0, std::numeric_limits<int32_t>::max(), {}}}), ErrorKind::does_not_fit);  // nothing thrown
}

TEST(OffsetAllocator, PinnedBuffersMustNotCollide) {
  EXPECT_THROW(pack_buffers(std::vector<Buffer>{{128, 64, 0, 4, 0}, {64, 64, 4, 9, 64}}), Error);
  EXPECT_THROW(pack_buffers(std::vector<Buffer>{{64, 64, 4, 9, 64}, {128, 64, 0, 4, 0}}), Error);
  EXPECT_THROW(pack_buffers(std::vector<Buffer>{{64, 64, 0, 4, 64}, {128, 64, 2, 9, 0}}), Error);
  EXPECT_THROW(pack_buffers(std::vector<Buffer>{{128, 64, 0, 4, 32}}), Error);
  EXPECT_THROW(pack_buffers(std::vector<Buffer>{{128, 64, 0, 4, -64}}), Error);
  EXPECT_EQ(pack_buffers(std::vector<Buffer>{{128, 64, 0, 4, 0}, {64, 64, 5, 9, 64}}).arena_bytes, 128);
  EXPECT_EQ(pack_buffers(std::vector<Buffer>{{128, 64, 0, 4, 64}, {64, 64, 0, 9, {}}}).offsets[1],
            0);  // below the pinned
}

TEST(LiveRange, PeakIsTheEarliestMomentWithTheMostBytes) {
  const std::vector<Buffer> buffers = {
      {100, 64, 0, 3, {}}, {60, 64, 2, 5, {}}, {64, 64, 6, 8, {}}, {128, 64, 7, 7, {}}};
  const LivePeak peak = find_live_peak(buffers);
  EXPECT_EQ(peak.bytes, 192);
  EXPECT_EQ(peak.time, 2);
  EXPECT_EQ(buffers_live_at(buffers, 3), (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(buffers_live_at(buffers, 7), (std::vector<int32_t>{2, 3}));
  EXPECT_EQ(find_live_peak({}).bytes, 0);
}

}  // namespace
}  // namespace plimsoll
