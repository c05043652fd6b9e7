#include "memory/resident.h"

#include <fcntl.h>
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

}  // namespace

std::optional<ResidentMemory> read_resident_memory(const char* path) noexcept {
  std::array<char, 8192> buffer;
  const std::string_view text = read_start(path, buffer.data(), buffer.size());
  const std::optional<int64_t> now = kib_after(text, "VmRSS:"), peak = kib_after(text, "VmHWM:");
  if (!now || !peak) return std::nullopt;
  return ResidentMemory{*now, *peak};
}

}  // namespace plimsoll
