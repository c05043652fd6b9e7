#include "config/machine.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {
namespace {

class FakeMachine : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "/machine_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(root_);
    write("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  std::string root_;
};

TEST_F(FakeMachine, WithoutGroups) {
  const Machine machine = inspect_machine(root_);
  EXPECT_EQ(machine.total_bytes, 16 * kGiB);
  EXPECT_EQ(machine.available_bytes, 8 * kGiB);
  EXPECT_GE(machine.threads, 1);
}

TEST_F(FakeMachine, Version2TakesTheTightestFolderUpward) {
  write("/proc/self/cgroup", "0::/a/b\n");
  write("/sys/fs/cgroup/a/b/memory.max", "max\n");
  write("/sys/fs/cgroup/a/memory.max", "4294967296\n");
  write("/sys/fs/cgroup/a/memory.current", "3221225472\n");
  write("/sys/fs/cgroup/a/memory.stat", "file 9\ninactive_file 1073741824\n");
  write("/sys/fs/cgroup/a/cpu.max", "50000 100000\n");
  const Machine machine = inspect_machine(root_);
  EXPECT_EQ(machine.total_bytes, 4 * kGiB);
  EXPECT_EQ(machine.available_bytes, 2 * kGiB);
  EXPECT_EQ(machine.threads, 1);
}

TEST_F(FakeMachine, Version1InAContainerReadsTheMount) {
  write("/proc/self/cgroup", "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
  write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "2147483648\n");  // over its limit
  write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  const Machine machine = inspect_machine(root_);
  EXPECT_EQ(machine.total_bytes, kGiB);
  EXPECT_EQ(machine.available_bytes, 0);
  EXPECT_EQ(machine.threads, inspect_machine(root_ + "/nothing").threads);
}

TEST_F(FakeMachine, LimitsOfTheProcess) {
  const std::string head = "Limit                     Soft Limit           Hard Limit           Units\n";
  write("/proc/self/limits", head + "Max data size             4294967296           unlimited            bytes\n");
  write("/proc/self/status", "VmSize:  2097152 kB\nVmRSS:  1048576 kB\nVmData:  524288 kB\nRssAnon:  262144 kB\n");
  EXPECT_EQ(inspect_machine(root_).available_bytes, 4 * kGiB - 256 * kMiB);
  write("/proc/self/limits", head + "Max address space         3221225472           unlimited            bytes\n");
  EXPECT_EQ(inspect_machine(root_).available_bytes, 2 * kGiB);
  write("/proc/self/limits", head + "Max address space         unlimited            unlimited            bytes\n");
  EXPECT_EQ(inspect_machine(root_).available_bytes, 8 * kGiB);
}

TEST_F(FakeMachine, AutoLeavesATenth) {
  const AutoLine line = auto_memory_line(inspect_machine(root_));
  EXPECT_EQ(line.free_bytes, 8 * kGiB);
  EXPECT_EQ(line.line_bytes(), 8 * kGiB - 8 * kGiB / 10);
  write("/proc/meminfo", "MemTotal:       16777216 kB\nMemAvailable:    1048576 kB\n");
  EXPECT_EQ(auto_memory_line(inspect_machine(root_)).margin_bytes, 128 * kMiB);
  write("/proc/meminfo", "MemTotal:       16777216 kB\nMemAvailable:    131072 kB\n");
  EXPECT_THROW(auto_memory_line(inspect_machine(root_)), Error);
  EXPECT_THROW(auto_memory_line(inspect_machine(root_ + "/nothing")), Error);
}

TEST_F(FakeMachine, NothingReadable) {
  const Machine machine = inspect_machine(root_ + "/nothing");
  EXPECT_EQ(machine.total_bytes, 0);
  EXPECT_EQ(machine.available_bytes, 0);
  write("/proc/meminfo", "MemTotal: many\n");
  write("/proc/self/cgroup", "nonsense\n1:\n::::\n");
  EXPECT_EQ(inspect_machine(root_).total_bytes, 0);
}

TEST(Machine, ThisOne) {
  const Machine machine = inspect_machine();
  EXPECT_GT(machine.total_bytes, 0);
  EXPECT_GT(machine.available_bytes, 0);
  EXPECT_LE(machine.available_bytes, machine.total_bytes);
  EXPECT_GT(peak_resident_bytes(), kMiB);
}

}  // namespace
}  // namespace plimsoll
