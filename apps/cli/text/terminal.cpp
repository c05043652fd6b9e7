#include "cli/text/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/text.h"

namespace plimsoll::cli {
namespace {

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

bool locale_is_ascii() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string_view value = environment(name);
    if (!value.empty()) return value == "C" || value == "POSIX";
  }
  return false;
}

}  // namespace

Terminal inspect_terminal(int file_descriptor) {
  Terminal terminal;
  terminal.is_terminal = isatty(file_descriptor) == 1;
  terminal.unicode = !(terminal.is_terminal && locale_is_ascii());
  if (!terminal.is_terminal) return terminal;
  terminal.color = environment("NO_COLOR").empty() && environment("TERM") != "dumb";
  winsize size{};
  if (ioctl(file_descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) terminal.width = size.ws_col;
  else if (const auto columns = parse_integer(environment("COLUMNS")); columns && *columns > 0)
    terminal.width = static_cast<int>(std::min<int64_t>(*columns, 1000));
  return terminal;
}

std::string bar(double share, int width, const Terminal& terminal) {
  if (!(share > 0)) share = 0;
  const int filled = static_cast<int>(std::lround(std::min(share, 1.0) * width));
  std::string text;
  for (int i = 0; i < width; ++i) text += i < filled ? (terminal.unicode ? "█" : "#") : (terminal.unicode ? "░" : ".");
  return text;
}

std::string fit_columns(std::string_view text, int width) {
  int count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U) continue;
    if (count++ == width) return std::string(text.substr(0, i));
  }
  return std::string(text);
}

}  // namespace plimsoll::cli
