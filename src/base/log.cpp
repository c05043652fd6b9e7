#include "base/log.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <string>

#include "base/wrap.h"

namespace plimsoll {
namespace {
std::atomic<LogLevel> g_level{LogLevel::normal};
}

void write_stderr(std::string_view text) noexcept {
  const size_t written = std::fwrite(text.data(), 1, text.size(), stderr);
  (void)written;
}

namespace {

// Columns of the terminal on stderr; 0: it is none.
int terminal_columns() {
  winsize size{};
  return ::isatty(STDERR_FILENO) == 1 && ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

void write_lines(std::string text) {
  text += '\n';
  const int columns = terminal_columns();
  write_stderr(columns > 0 ? wrap_lines(text, columns) : text);
}

}  // namespace

void set_log_level(LogLevel level) { g_level = level; }
LogLevel log_level() { return g_level.load(); }

void log_note(std::string_view message) {
  if (g_level.load() != LogLevel::quiet) write_lines(std::string(message));
}

void log_detail(std::string_view message) {
  if (g_level.load() == LogLevel::verbose) write_lines(std::string(message));
}

void log_warning(std::string_view message) { write_lines(fmt::format("plimsoll: warning: {}", message)); }

}  // namespace plimsoll
