// Text in columns of a terminal.
#pragma once

#include <string>
#include <string_view>

namespace plimsoll {

// Columns of UTF-8 text, counting one a character.
int text_columns(std::string_view text);

// Lines of more than `width` columns go on in a next line, indented; broken at blanks, and after the bars between words
// such as on|off. A longer word stays whole. Escape sequences of colours take no columns.
std::string wrap_lines(std::string_view text, int width);

}  // namespace plimsoll
