#include "base/wrap.h"

#include <algorithm>
#include <cctype>

namespace plimsoll {

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
    if (line[i] == '|' && columns <= width) end = i + 1;
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

}  // namespace plimsoll
