#include "memory/plan_validator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "support/training_buffers.h"

namespace plimsoll {
namespace {

using testing::Test;

struct PlanValidatorTest : Test {
  std::vector<Buffer> buffers = {{256, 64, 0, 9, {}}, {128, 64, 1, 4, {}}, {192, 64, 3, 6, {}}, {128, 64, 5, 9, 256}};
  std::vector<std::string> names = {"weights", "x", "hidden", "gradient"};
  Packing packing{{0, 256, 384, 256}, 576, 576};

  std::vector<std::string> violations(ValidationContext context = {}) {
    context.names = names;
    return validate_packing(buffers, packing, context);
  }
  void expect_only(const std::string& sentence, const ValidationContext& context = {}) {
    EXPECT_EQ(violations(context), std::vector<std::string>{sentence});
  }
};

TEST_F(PlanValidatorTest, AcceptsASoundPacking) { EXPECT_TRUE(violations().empty()); }

TEST_F(PlanValidatorTest, SeesAnOverlap) {
  packing.offsets[2] = 320;
  expect_only("x and hidden share bytes 320..384 from op 3 to op 4");
}

TEST_F(PlanValidatorTest, SeesAnOverlapInOneByteAndOneOp) {
  buffers[2].first = 4;
  buffers[1].size_bytes = 129;
  packing.lower_bound_bytes = packing.arena_bytes = 577;
  expect_only("x and hidden share bytes 384..385 from op 4 to op 4");
}

TEST_F(PlanValidatorTest, SeesABufferThatCoversAnother) {
  packing.offsets[1] = 64;
  expect_only("weights and x share bytes 64..192 from op 1 to op 4");
}

TEST_F(PlanValidatorTest, SeesABufferOutsideTheArena) {
  packing.arena_bytes = 575;
  packing.lower_bound_bytes = 575;
  EXPECT_EQ(violations().front(), "hidden: bytes 384..576 leave the arena of 575 bytes");
  packing = {{-64, 256, 384, 256}, 576, 576};
  expect_only("weights: offset -64 is below the arena");
}

TEST_F(PlanValidatorTest, SeesBadAlignment) {
  packing = {{0, 256, 392, 256}, 584, 576};
  expect_only("hidden: offset 392 is no multiple of 64");
  buffers[2].alignment = 24;
  packing.offsets[2] = 384;
  expect_only("hidden: alignment 24 is no power of two");
}

TEST_F(PlanValidatorTest, SeesAMovedPinnedBuffer) {
  buffers[3].pinned_offset = 320;
  expect_only("gradient: at offset 256, but pinned at 320");
}

TEST_F(PlanValidatorTest, SeesBadLifetimes) {
  const std::vector<BufferAccess> accesses = {{1, 1}, {1, 5}, {9, 0}};
  ValidationContext context;
  context.accesses = accesses;
  EXPECT_EQ(violations(context),
            (std::vector<std::string>{"x: used by op 5, but live from op 1 to op 4", "op 0 uses buffer 9 of 4"}));
  context = {};
  context.schedule_length = 9;
  EXPECT_EQ(violations(context), (std::vector<std::string>{"weights: live until op 9 of a schedule of 9",
                                                           "gradient: live until op 9 of a schedule of 9"}));
  buffers[1].last = 0;
  expect_only("x: live from op 1 to op 0");
}

TEST_F(PlanValidatorTest, SeesAWrongLowerBound) {
  packing.lower_bound_bytes = 512;
  expect_only("at op 3 576 bytes are live, more than the stated lower bound of 512");
  packing.lower_bound_bytes = 640;
  expect_only("the arena of 576 bytes is smaller than the stated lower bound of 640");
}

TEST_F(PlanValidatorTest, SeesMissingOffsetsAndAbsurdNumbers) {
  packing.offsets.pop_back();
  expect_only("3 offsets for 4 buffers");
  packing = {{0, 256, 384, 256}, 576, 576};
  packing.offsets[2] = std::numeric_limits<int64_t>::max() - 63;
  expect_only("hidden: offset 9223372036854775744 plus 192 bytes overflows");
  packing.offsets[2] = 384;
  buffers[2].size_bytes = -5;
  expect_only("hidden: -5 bytes");
}

TEST_F(PlanValidatorTest, CountsWhatItDoesNotSay) {
  packing.offsets = {1, 257, 385, 257};
  ValidationContext context;
  context.max_violations = 2;
  const auto found = violations(context);
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[2].substr(0, 4), "and ");
}

// Every fault put into a good packing of a real step is found.
TEST(PlanValidator, CatchesEveryInjectedFault) {
  const std::vector<Buffer> buffers = training_step({.layers = 3, .tokens = 64, .recompute_layers = 1});
  const Packing good = pack_buffers(buffers);
  ASSERT_TRUE(validate_packing(buffers, good).empty());
  std::mt19937_64 random(5);
  int overlaps = 0;
  for (int round = 0; round < 500; ++round) {
    const auto i = static_cast<size_t>(random_below(random, static_cast<int64_t>(buffers.size())));
    Packing bad = good;
    std::vector<Buffer> changed = buffers;
    switch (round % 4) {
      case 0: {  // onto another buffer that lives at the same time
        const std::vector<int32_t> live = buffers_live_at(buffers, buffers[i].first);
        const auto other =
            static_cast<size_t>(live[static_cast<size_t>(random_below(random, static_cast<int64_t>(live.size())))]);
        if (other == i) continue;
        bad.offsets[i] = good.offsets[other];
        ++overlaps;
        break;
      }
      case 1:
        bad.offsets[i] += 1 + random_below(random, 63);
        break;
      case 2:
        bad.offsets[i] = good.arena_bytes - buffers[i].size_bytes / 64 * 64 + 64;
        break;
      default:
        changed[i].pinned_offset = good.offsets[i] + 64;
        break;
    }
    EXPECT_FALSE(validate_packing(changed, bad).empty()) << "round " << round << ", buffer " << i;
  }
  EXPECT_GT(overlaps, 100);
}

}  // namespace
}  // namespace plimsoll
