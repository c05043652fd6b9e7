#include "runtime/disk_rate.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "config/user_cache.h"

namespace plimsoll {
namespace {

class DiskRateTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/disk_rate_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ + "/work");
    setenv("PLIMSOLL_CACHE", (folder_ + "/cache").c_str(), 1);
  }
  void TearDown() override {
    setenv("PLIMSOLL_CACHE", "off", 1);
    std::filesystem::remove_all(folder_);
  }
  std::string folder_;
};

TEST_F(DiskRateTest, MeasuresOnceAndLeavesNothing) {
  const auto rate = disk_read_rate(folder_ + "/work");
  ASSERT_TRUE(rate.has_value());
  EXPECT_GT(*rate, 1e5);
  EXPECT_TRUE(std::filesystem::is_empty(folder_ + "/work"));
  // The second answer is the kept one.
  for (const auto& file : std::filesystem::directory_iterator(folder_ + "/cache"))
    std::ofstream(file.path()) << "12345\n";
  EXPECT_EQ(disk_read_rate(folder_ + "/work"), 12345.0);
  for (const auto& file : std::filesystem::directory_iterator(folder_ + "/cache")) std::ofstream(file.path()) << "-3 x";
  EXPECT_GT(disk_read_rate(folder_ + "/work").value_or(0), 1e5);
}

TEST_F(DiskRateTest, NothingToMeasureIsNoRate) {
  EXPECT_FALSE(disk_read_rate("/proc").has_value());
  EXPECT_FALSE(disk_read_rate(folder_ + "/not there").has_value());
}

TEST_F(DiskRateTest, TheCacheIsOptional) {
  write_user_cache("name", "text");
  EXPECT_EQ(read_user_cache("name", 1), "text");
  EXPECT_FALSE(read_user_cache("name", -1).has_value());
  EXPECT_FALSE(read_user_cache("other", 1).has_value());
  setenv("PLIMSOLL_CACHE", "off", 1);
  EXPECT_EQ(user_cache_folder(), "");
  EXPECT_FALSE(read_user_cache("name", 1).has_value());
  write_user_cache("name", "text");
  setenv("PLIMSOLL_CACHE", "/proc/nothing", 1);
  write_user_cache("name", "text");
  EXPECT_FALSE(read_user_cache("name", 1).has_value());
}

}  // namespace
}  // namespace plimsoll
