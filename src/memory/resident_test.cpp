#include "memory/resident.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/bytes.h"

namespace plimsoll {
namespace {

// A little /proc and /sys/fs/cgroup.
class FakeSystem {
 public:
  FakeSystem() {
    std::string pattern = (std::filesystem::temp_directory_path() / "plimsoll_resident_XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    write("proc/meminfo", "MemTotal:       16777216 kB\nMemFree:        1048576 kB\nMemAvailable:    8388608 kB\n");
  }
  ~FakeSystem() { std::filesystem::remove_all(root_); }
  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::optional<MachineMemory> read() const { return read_machine_memory(root_ / "proc", root_ / "cgroup"); }
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

TEST(MachineMemory, OfThisMachineMakesSense) {
  const auto memory = read_machine_memory();
  ASSERT_TRUE(memory.has_value());
  EXPECT_GT(memory->total_bytes, 16 * kMiB);
  EXPECT_LE(memory->available_bytes, memory->total_bytes);
}

TEST(MachineMemory, WithoutGroups) {
  const FakeSystem system;
  const auto memory = system.read();
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->total_bytes, 16 * kGiB);
  EXPECT_EQ(memory->available_bytes, 8 * kGiB);
  EXPECT_FALSE(memory->cgroup_limit_bytes.has_value());
  system.write("proc/meminfo", "nonsense");
  EXPECT_FALSE(system.read().has_value());
}

TEST(MachineMemory, TakesTheLowestLimitOfTheGroupsAbove) {
  const FakeSystem system;
  system.write("proc/self/cgroup", "0::/user/job\n");
  system.write("cgroup/user/job/memory.max", "max\n");
  system.write("cgroup/user/memory.max", "4294967296\n");
  system.write("cgroup/user/memory.current", "3221225472\n");
  system.write("cgroup/user/memory.stat", "anon 5\ninactive_file 1073741824\n");
  const auto memory = system.read();
  EXPECT_EQ(memory->cgroup_limit_bytes, 4 * kGiB);
  EXPECT_EQ(memory->total_bytes, 4 * kGiB);
  EXPECT_EQ(memory->available_bytes, 2 * kGiB);
}

TEST(MachineMemory, ReadsVersionOneAndForeignPaths) {
  const FakeSystem system;
  system.write("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\nbroken\n");
  system.write("cgroup/memory/memory.limit_in_bytes", "2147483648\n");  // the container sees its own group as the root
  system.write("cgroup/memory/memory.usage_in_bytes", "4294967296\n");
  const auto memory = system.read();
  EXPECT_EQ(memory->cgroup_limit_bytes, 2 * kGiB);
  EXPECT_EQ(memory->available_bytes, 0);
}

}  // namespace
}  // namespace plimsoll
