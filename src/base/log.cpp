#include "base/log.h"

#include <fmt/format.h>

#include <atomic>
#include <cstdio>

namespace plimsoll {
namespace {
std::atomic<LogLevel> g_level{LogLevel::normal};
}

void write_stderr(std::string_view text) noexcept {
  const size_t written = std::fwrite(text.data(), 1, text.size(), stderr);
  (void)written;
}

void set_log_level(LogLevel level) { g_level = level; }
LogLevel log_level() { return g_level.load(); }

void log_note(std::string_view message) {
  if (g_level.load() != LogLevel::quiet) write_stderr(fmt::format("{}\n", message));
}

void log_detail(std::string_view message) {
  if (g_level.load() == LogLevel::verbose) write_stderr(fmt::format("{}\n", message));
}

void log_warning(std::string_view message) { write_stderr(fmt::format("plimsoll: warning: {}\n", message)); }

}  // namespace plimsoll
