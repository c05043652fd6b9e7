#include "base/permutation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

namespace plimsoll {
namespace {

std::vector<uint64_t> order_of(uint64_t size, uint64_t seed, uint64_t stream) {
  const Permutation permutation(size, seed, stream);
  std::vector<uint64_t> order;
  for (uint64_t i = 0; i < size; ++i) order.push_back(permutation.at(i));
  return order;
}

TEST(Permutation, EveryItemOnceForAnySize) {
  for (uint64_t size = 1; size < 300; ++size) {
    std::vector<bool> seen(size, false);
    for (const uint64_t item : order_of(size, 5, size)) {
      ASSERT_LT(item, size);
      ASSERT_FALSE(seen[item]) << size;
      seen[item] = true;
    }
  }
}

TEST(Permutation, SeedAndStreamMatter) {
  EXPECT_EQ(order_of(1000, 1, 2), order_of(1000, 1, 2));
  EXPECT_NE(order_of(1000, 1, 2), order_of(1000, 2, 2));
  EXPECT_NE(order_of(1000, 1, 2), order_of(1000, 1, 3));
}

// Part of the contract: a run that goes on must see the same rows.
TEST(Permutation, OrderIsFixed) {
  EXPECT_EQ(order_of(8, 42, 1), (std::vector<uint64_t>{3, 0, 2, 1, 5, 7, 4, 6}));
  EXPECT_EQ(Permutation(10'000'000, 7, 0).at(1234567), 5489222U);
}

// Neighbours end up as far apart as chance would put them, and no item stays near its place.
TEST(Permutation, LooksRandom) {
  constexpr uint64_t kSize = 100'000;
  for (uint64_t stream = 0; stream < 4; ++stream) {
    const std::vector<uint64_t> order = order_of(kSize, 9, stream);
    double distance = 0, product = 0;
    const double middle = (kSize - 1) / 2.0;
    for (size_t i = 0; i + 1 < kSize; ++i) {
      distance += std::abs(static_cast<double>(order[i]) - static_cast<double>(order[i + 1]));
      product += (static_cast<double>(i) - middle) * (static_cast<double>(order[i]) - middle);
    }
    EXPECT_NEAR(distance / kSize, kSize / 3.0, 0.01 * kSize);
    const double correlation = product / (kSize * (static_cast<double>(kSize) * kSize / 12));
    EXPECT_NEAR(correlation, 0, 5 / std::sqrt(static_cast<double>(kSize)));
  }
}

}  // namespace
}  // namespace plimsoll
