#include "base/log.h"

#include <fmt/format.h>

#include <atomic>
#include <cstdio>

namespace plimsoll {
namespace {
std::atomic<LogLevel> g_level{LogLevel::normal};
}

void set_log_level(LogLevel level) { g_level = level; }
LogLevel log_level() { return g_level.load(); }

void log_note(std::string_view message) {
  if (g_level.load() != LogLevel::quiet) fmt::print(stderr, "{}\n", message);
}

void log_detail(std::string_view message) {
  if (g_level.load() == LogLevel::verbose) fmt::print(stderr, "{}\n", message);
}

void log_warning(std::string_view message) { fmt::print(stderr, "plimsoll: warning: {}\n", message); }

}  // namespace plimsoll
