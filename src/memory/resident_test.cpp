#include "memory/resident.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/bytes.h"

namespace plimsoll {
namespace {

// A little /proc.
class FakeSystem {
 public:
  FakeSystem() {
    std::string pattern = (std::filesystem::temp_directory_path() / "plimsoll_resident_XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  ~FakeSystem() { std::filesystem::remove_all(root_); }
  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::string path(const std::string& name) const { return root_ / name; }

 private:
  std::filesystem::path root_;
};

TEST(ResidentMemory, FollowsWhatTheProcessTouches) {
  const auto before = read_resident_memory();
  ASSERT_TRUE(before.has_value());
  EXPECT_GE(before->peak_bytes, before->now_bytes);
  {
    std::vector<char> touched(64 * kMiB);
    std::memset(touched.data(), 1, touched.size());
    EXPECT_GE(read_resident_memory()->now_bytes, before->now_bytes + 60 * kMiB);
  }
  EXPECT_GE(read_resident_memory()->peak_bytes, before->now_bytes + 60 * kMiB);
}

TEST(ResidentMemory, IsEmptyWhereThereIsNothingToRead) {
  EXPECT_FALSE(read_resident_memory("/proc/self/no_such_file").has_value());
  const FakeSystem system;
  system.write("status", "Name:\tx\nVmRSS:\t12 kB\n");
  EXPECT_FALSE(read_resident_memory(system.path("status").c_str()).has_value());
  system.write("status", "VmHWM:\t9223372036854775807 kB\nVmRSS:\t12 kB\n");
  EXPECT_FALSE(read_resident_memory(system.path("status").c_str()).has_value());
  system.write("status", "VmHWM:\t  20 kB\nVmRSS:\t12 kB\n");
  EXPECT_EQ(read_resident_memory(system.path("status").c_str())->peak_bytes, 20 * kKiB);
}

}  // namespace
}  // namespace plimsoll
