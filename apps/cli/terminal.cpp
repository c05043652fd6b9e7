#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
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

int text_columns(std::string_view text) {
  int count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
  return count;
}

namespace {

// The byte behind the longest beginning of `line` that has at most `width` columns and ends before a blank; where its
// first word is longer, behind that word.
size_t end_of_part(std::string_view line, int width) {
  size_t end = 0;
  int columns = 0;
  bool in_word = false;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\033') {  // ESC [ … letter
      while (i + 1 < line.size() && (std::isalpha(static_cast<unsigned char>(line[i])) == 0)) ++i;
      continue;
    }
    if (line[i] == ' ' && in_word) {
      if (columns > width && end > 0) return end;
      end = i;
      if (columns > width) return end;
    }
    in_word = line[i] != ' ';
    columns += (static_cast<unsigned char>(line[i]) & 0xC0U) != 0x80U ? 1 : 0;
  }
  return columns > width && end > 0 ? end : line.size();
}

}  // namespace

std::string wrap_lines(std::string_view text, int width) {
  constexpr size_t kDeepestIndent = 24;
  std::string out;
  while (!text.empty()) {
    const size_t line_end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, line_end);
    const size_t indent =
        std::min(line.find_first_not_of(' ') == std::string_view::npos ? 0 : line.find_first_not_of(' '),
                 kDeepestIndent) +
        4;
    int left = width;
    while (true) {
      const size_t end = end_of_part(line, left);
      out += line.substr(0, end);
      line.remove_prefix(end);
      if (line.empty()) break;
      line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
      if (line.empty()) break;
      out += "\n" + std::string(indent, ' ');
      left = std::max(width - static_cast<int>(indent), 1);
    }
    if (line_end < text.size()) out += '\n';
    text.remove_prefix(std::min(line_end + 1, text.size()));
  }
  return out;
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
