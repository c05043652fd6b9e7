#include "memory/resident.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <limits>
#include <string_view>

namespace plimsoll {
namespace {

// The beginning of a file, as much as fits `buffer`; empty when it cannot be read.
std::string_view read_start(const char* path, char* buffer, size_t capacity) noexcept {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  size_t size = 0;
  while (size < capacity) {
    const ssize_t count = read(fd, buffer + size, capacity - size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    size += static_cast<size_t>(count);
  }
  close(fd);
  return {buffer, size};
}

std::string read_text(const std::string& path) {
  std::string text(1 << 16, '\0');
  text.resize(read_start(path.c_str(), text.data(), text.size()).size());
  return text;
}

// "VmRSS:     1234 kB" → 1234, for the line that begins with `key`.
std::optional<int64_t> number_after(std::string_view text, std::string_view key) noexcept {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
    int64_t value = 0;
    if (std::from_chars(line.data(), line.data() + line.size(), value).ec == std::errc{}) return value;
  }
  return std::nullopt;
}

std::optional<int64_t> kib_after(std::string_view text, std::string_view key) noexcept {
  const std::optional<int64_t> kib = number_after(text, key);
  if (!kib || *kib < 0 || *kib > std::numeric_limits<int64_t>::max() / 1024) return std::nullopt;
  return *kib * 1024;
}

struct GroupFiles {
  std::string_view limit, usage, inactive_file_key;
};
constexpr GroupFiles kVersion2 = {"/memory.max", "/memory.current", "inactive_file "};
constexpr GroupFiles kVersion1 = {"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file "};

// Lowers `memory` to the limits of the group `folder` below `root` and of the groups above it.
void apply_group(MachineMemory& memory, const std::string& root, std::string folder, const GroupFiles& files) {
  for (;;) {
    const std::string path = root + folder;
    const std::string limit_text = read_text(path + std::string(files.limit));  // "max" is no number
    const std::optional<int64_t> limit = number_after(limit_text, "");
    if (limit && *limit < memory.total_bytes) {
      const int64_t used = number_after(read_text(path + std::string(files.usage)), "").value_or(0);
      const int64_t inactive = number_after(read_text(path + "/memory.stat"), files.inactive_file_key).value_or(0);
      memory.total_bytes = *limit;
      memory.cgroup_limit_bytes = *limit;
      memory.available_bytes =
          std::min(memory.available_bytes, std::max<int64_t>(0, *limit - std::max<int64_t>(0, used - inactive)));
    }
    if (folder.empty() || folder == "/") return;
    folder.erase(folder.rfind('/'));
  }
}

}  // namespace

std::optional<ResidentMemory> read_resident_memory(const char* path) noexcept {
  std::array<char, 8192> buffer;
  const std::string_view text = read_start(path, buffer.data(), buffer.size());
  const std::optional<int64_t> now = kib_after(text, "VmRSS:"), peak = kib_after(text, "VmHWM:");
  if (!now || !peak) return std::nullopt;
  return ResidentMemory{*now, *peak};
}

std::optional<MachineMemory> read_machine_memory(const std::string& proc_root, const std::string& cgroup_root) {
  const std::string meminfo = read_text(proc_root + "/meminfo");
  const std::optional<int64_t> total = kib_after(meminfo, "MemTotal:"), available = kib_after(meminfo, "MemAvailable:");
  if (!total || !available) return std::nullopt;
  MachineMemory memory{*total, std::min(*total, *available), {}, {}};

  // Lines "0::/path" (version 2) and "4:memory:/path" (version 1). In a container the path may be the host's, which is
  // not there: then only the root's files exist, and they are the container's own.
  const std::string groups = read_text(proc_root + "/self/cgroup");
  for (size_t at = 0; at < groups.size();) {
    const size_t end = std::min(groups.find('\n', at), groups.size());
    const std::string line = groups.substr(at, end - at);
    at = end + 1;
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos || second + 1 >= line.size() ||
        line[second + 1] != '/')
      continue;
    std::string controllers = ",";
    controllers.append(line, first + 1, second - first - 1).append(",");
    const std::string folder = line.substr(second + 1);
    if (controllers == ",,") apply_group(memory, cgroup_root, folder, kVersion2);
    else if (controllers.find(",memory,") != std::string::npos)
      apply_group(memory, cgroup_root + "/memory", folder, kVersion1);
  }

  rlimit limit{};
  if (getrlimit(RLIMIT_DATA, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    memory.data_limit_bytes =
        static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, std::numeric_limits<int64_t>::max()));
  return memory;
}

}  // namespace plimsoll
