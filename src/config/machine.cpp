#include "config/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"

namespace plimsoll {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

// The first word of a file as a number; "max", nothing or an absurd size is no limit.
int64_t read_limit(const std::string& path) {
  std::istringstream words(read_text(path));
  std::string word;
  words >> word;
  const auto value = parse_integer(word);
  return value && *value >= 0 && *value < (int64_t{1} << 60) ? *value : kNoLimit;
}

// The number after `name` in lines such as "MemTotal:  123 kB" or "inactive_file 123".
int64_t number_after(const std::string& text, std::string_view name) {
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string word, number;
    words >> word >> number;
    if (word == name) return parse_integer(number).value_or(0);
  }
  return 0;
}

int affinity_threads() {
  for (int count = 1024; count <= (1 << 20); count *= 4) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(count));
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(count));
    const bool ok = sched_getaffinity(0, bytes, set) == 0;
    const int threads = ok ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (ok) return std::max(1, threads);
  }
  return std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
}

struct Group {
  std::string controllers;  // empty for version 2
  std::string path;
};

std::vector<Group> read_groups(const std::string& root) {
  std::vector<Group> groups;
  std::istringstream lines(read_text(root + "/proc/self/cgroup"));
  std::string line;
  while (std::getline(lines, line)) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    groups.push_back({line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  return groups;
}

bool has_controller(const Group& group, std::string_view name) {
  std::istringstream names(group.controllers);
  std::string word;
  while (std::getline(names, word, ','))
    if (word == name) return true;
  return false;
}

// Folders of a group below `mount`, from the group up to the mount itself. In a container the group's path may not
// exist there; the mount then is the group.
std::vector<std::string> folders_upward(const std::string& mount, std::string path) {
  std::vector<std::string> folders;
  while (path.size() > 1 && path.front() == '/') {
    folders.push_back(mount + path);
    path.resize(path.rfind('/'));
  }
  folders.push_back(mount);
  return folders;
}

struct GroupFiles {
  std::string_view limit, usage, reclaimable;
};
constexpr GroupFiles kVersion1 = {"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file"};
constexpr GroupFiles kVersion2 = {"/memory.max", "/memory.current", "inactive_file"};

void limit_memory(Machine& machine, const std::string& folder, const GroupFiles& files) {
  const int64_t limit = read_limit(folder + std::string(files.limit));
  if (limit == kNoLimit) return;
  machine.total_bytes = std::min(machine.total_bytes, limit);
  const int64_t usage = read_limit(folder + std::string(files.usage));
  if (usage == kNoLimit) return;
  const int64_t reclaimable = number_after(read_text(folder + "/memory.stat"), files.reclaimable);
  const int64_t free_bytes = std::clamp<int64_t>(limit - usage + std::min(usage, reclaimable), 0, limit);
  machine.available_bytes = std::min(machine.available_bytes, free_bytes);
}

// The soft limit in a line such as "Max data size             1073741824           unlimited            bytes".
int64_t process_limit(const std::string& limits, std::string_view name) {
  const size_t begin = limits.find(name);
  if (begin == std::string::npos) return kNoLimit;
  std::istringstream words(limits.substr(begin + name.size(), 80));
  std::string soft;
  words >> soft;
  return parse_integer(soft).value_or(kNoLimit);
}

// What this process may still take of its limits. Address space also counts what is mapped and not in memory.
void limit_process(Machine& machine, const std::string& root) {
  const std::string limits = read_text(root + "/proc/self/limits"), status = read_text(root + "/proc/self/status");
  const auto in_status = [&](std::string_view name) { return number_after(status, name) * 1024; };
  const auto limit = [&](int64_t bytes, int64_t used) {
    if (bytes == kNoLimit) return;
    machine.total_bytes = std::min(machine.total_bytes, bytes);
    machine.available_bytes = std::min(machine.available_bytes, std::max<int64_t>(0, bytes - used));
  };
  limit(process_limit(limits, "Max data size"), std::max<int64_t>(0, in_status("VmData:") - in_status("RssAnon:")));
  limit(process_limit(limits, "Max address space"), std::max<int64_t>(0, in_status("VmSize:") - in_status("VmRSS:")));
}

void limit_threads(Machine& machine, int64_t quota, int64_t period) {
  if (quota == kNoLimit || quota <= 0 || period == kNoLimit || period <= 0) return;
  const int64_t threads = std::max<int64_t>(1, (quota + period - 1) / period);
  machine.threads = static_cast<int>(std::min<int64_t>(machine.threads, threads));
}

}  // namespace

Machine inspect_machine(const std::string& root) {
  Machine machine;
  machine.threads = affinity_threads();
  const std::string meminfo = read_text(root + "/proc/meminfo");
  const auto in_meminfo = [&](std::string_view name) {
    const int64_t kib = number_after(meminfo, name);
    return kib > 0 && kib < kNoLimit / 1024 ? kib * 1024 : kNoLimit;
  };
  machine.total_bytes = in_meminfo("MemTotal:");
  machine.available_bytes = in_meminfo("MemAvailable:");

  const std::string mount = root + "/sys/fs/cgroup";
  for (const Group& group : read_groups(root)) {
    if (group.controllers.empty()) {
      for (const std::string& folder : folders_upward(mount, group.path)) {
        limit_memory(machine, folder, kVersion2);
        std::istringstream cpu(read_text(folder + "/cpu.max"));
        std::string quota, period;
        cpu >> quota >> period;
        limit_threads(machine, parse_integer(quota).value_or(kNoLimit), parse_integer(period).value_or(kNoLimit));
      }
    }
    if (has_controller(group, "memory"))
      for (const std::string& folder : folders_upward(mount + "/memory", group.path))
        limit_memory(machine, folder, kVersion1);
    if (has_controller(group, "cpu"))
      for (const std::string& folder : folders_upward(mount + "/cpu", group.path))
        limit_threads(machine, read_limit(folder + "/cpu.cfs_quota_us"), read_limit(folder + "/cpu.cfs_period_us"));
  }
  limit_process(machine, root);
  machine.available_bytes = std::min(machine.available_bytes, machine.total_bytes);
  if (machine.total_bytes == kNoLimit) machine.total_bytes = 0;
  if (machine.available_bytes == kNoLimit) machine.available_bytes = 0;
  return machine;
}

AutoLine auto_memory_line(const Machine& machine) {
  constexpr int64_t kLeastMargin = 128 * kMiB;
  AutoLine line{machine.available_bytes, std::max(kLeastMargin, machine.available_bytes / 10)};
  if (line.line_bytes() <= 0)
    throw Error(ErrorKind::world, "--memory auto",
                machine.available_bytes == 0 ? "the free memory of this machine is not known, or none is left"
                                             : "only " + format_bytes(machine.available_bytes) + " are free",
                "give a size, such as --memory 2GiB, or close other programs");
  return line;
}

int64_t peak_resident_bytes() { return number_after(read_text("/proc/self/status"), "VmHWM:") * 1024; }

}  // namespace plimsoll
