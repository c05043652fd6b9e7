#include "base/processor_time.h"

#include <gtest/gtest.h>

#include <thread>

namespace plimsoll {
namespace {

TEST(ProcessorTime, SleepingIsNotWorking) {
  const double before = process_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(process_seconds() - before, 0.1);
}

TEST(ProcessorTime, WorkCounts) {
  const double before = process_seconds();
  volatile double sum = 0;
  while (process_seconds() - before < 0.02) sum = sum + 1;
  EXPECT_GE(process_seconds() - before, 0.02);
  if (const auto share = processor_share()) {
    EXPECT_GT(share->ran_seconds, 0);
    EXPECT_GE(share->waited_seconds, 0);
  }
}

}  // namespace
}  // namespace plimsoll
