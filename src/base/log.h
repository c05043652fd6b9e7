// Progress and notes for people, on stderr. Results never go through here.
#pragma once

#include <string_view>

namespace plimsoll {

enum class LogLevel { quiet, normal, verbose };

void set_log_level(LogLevel level);
LogLevel log_level();
void log_note(std::string_view message);     // shown unless quiet
void log_detail(std::string_view message);   // shown when verbose
void log_warning(std::string_view message);  // always shown, prefixed "plimsoll: warning: "

}  // namespace plimsoll
