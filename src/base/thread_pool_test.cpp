#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace plimsoll {
namespace {

TEST(ThreadPool, RunsEveryTileOnce) {
  ThreadPool pool(4);
  for (int round = 0; round < 500; ++round) {
    std::vector<int> hits(static_cast<size_t>(round % 37), 0);
    pool.parallel_for(static_cast<int64_t>(hits.size()), [&](int64_t tile, int thread) {
      EXPECT_GE(thread, 0);
      EXPECT_LT(thread, 4);
      ++hits[static_cast<size_t>(tile)];
    });
    for (const int hit : hits) ASSERT_EQ(hit, 1);
  }
}

TEST(ThreadPool, RethrowsTheFirstErrorAndStaysUsable) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.parallel_for(100,
                                 [](int64_t tile, int) {
                                   if (tile == 7) throw std::runtime_error("seven");
                                 }),
               std::runtime_error);
  std::atomic<int> count{0};
  pool.parallel_for(100, [&](int64_t, int) { ++count; });
  EXPECT_EQ(count, 100);
}

TEST(ThreadPool, OneThreadRunsInOrder) {
  ThreadPool pool(1);
  std::vector<int64_t> order;
  pool.parallel_for(5, [&](int64_t tile, int) { order.push_back(tile); });
  EXPECT_EQ(order, (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

}  // namespace
}  // namespace plimsoll
