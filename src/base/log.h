// Progress and notes for people, on stderr. Results never go through here.
#pragma once

#include <string_view>

namespace plimsoll {

enum class LogLevel { quiet, normal, verbose };

// Writes to stderr as it is. A stderr that cannot be written to is nobody's error: the rest of the work still counts.
void write_stderr(std::string_view text) noexcept;

void set_log_level(LogLevel level);
LogLevel log_level();
void log_note(std::string_view message);     // shown unless quiet
void log_detail(std::string_view message);   // shown when verbose
void log_warning(std::string_view message);  // always shown, prefixed "plimsoll: warning: "

}  // namespace plimsoll
