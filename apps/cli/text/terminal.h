// What stdout or stderr can show.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/wrap.h"

namespace plimsoll::cli {

struct Terminal {
  bool is_terminal = false;
  bool color = false;   // a terminal, no NO_COLOR, TERM not dumb
  bool unicode = true;  // the locale is not plainly an ASCII one
  int width = 80;       // columns; of the terminal, else 80
};

Terminal inspect_terminal(int file_descriptor);

// `filled` of `width` columns: "██████░░░░". Out-of-range shares are clamped.
std::string bar(double share, int width, const Terminal& terminal);

// Cut to at most `width` columns, between characters.
std::string fit_columns(std::string_view text, int width);

}  // namespace plimsoll::cli
