#include "setup/token_batch.h"

#include <gtest/gtest.h>

namespace plimsoll {
namespace {

TEST(TokenBatch, CountsAndStarts) {
  TokenBatch batch(2, 5);
  batch.segments = {0, 0, 1, 1, -1, 3, 3, 3, -1, -1};
  batch.labels = {7, kIgnoredLabel, 7, kIgnoredLabel, kIgnoredLabel, 1, 2, kIgnoredLabel, kIgnoredLabel, kIgnoredLabel};
  EXPECT_EQ(batch.real_tokens(), 7);
  EXPECT_EQ(batch.counted_tokens(), 4);
  fill_segment_start(5, batch.segments, batch.segment_start);
  EXPECT_EQ(batch.segment_start, (std::vector<int32_t>{0, 0, 2, 2, 4, 0, 0, 0, 3, 4}));
  EXPECT_EQ(batch.view().input_ids.size(), 10U);
}

}  // namespace
}  // namespace plimsoll
