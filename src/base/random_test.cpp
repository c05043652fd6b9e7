#include "base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace plimsoll {
namespace {

// The numbers are part of the contract: a change here changes every run that was ever resumed.
TEST(Random, SequenceIsFixed) {
  Random random(42);
  const std::vector<uint64_t> first = {random.next(), random.next(), random.next()};
  EXPECT_EQ(first, (std::vector<uint64_t>{2730308759528706450ULL, 17144795137417400848ULL, 193425411819345167ULL}));
}

TEST(Random, StreamsAndSeedsDiffer) {
  EXPECT_NE(Random(1, 0).next(), Random(1, 1).next());
  EXPECT_NE(Random(1, 0).next(), Random(2, 0).next());
  EXPECT_EQ(Random(7, 3).next(), Random(7, 3).next());
}

TEST(Random, BelowIsUniform) {
  Random random(5);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[random.below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(random.below(1), 0u);
}

TEST(Random, ShuffleIsAPermutation) {
  std::vector<int> items(1000);
  std::iota(items.begin(), items.end(), 0);
  Random random(9);
  shuffle(std::span(items), random);
  EXPECT_FALSE(std::is_sorted(items.begin(), items.end()));
  std::sort(items.begin(), items.end());
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(items[static_cast<size_t>(i)], i);
}

}  // namespace
}  // namespace plimsoll
