// A memory plan as a picture for a terminal: a bar of what lies in memory at the peak, against the line.
//
// Knows only this plain description, so that any plan (ours, a predicted one of another engine) can be drawn. Sizes are
// in MiB or GiB (2^20, 2^30), one unit for the whole picture, so that columns can be compared by eye.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace plimsoll {

struct PlanSegment {
  std::string name;   // "weights", "adapter", "activations", …
  int64_t bytes = 0;  // at the peak
};

struct PlanPhase {
  std::string name;  // "load", "train step", …
  int64_t peak_bytes = 0;
  std::string at;  // the op of the peak
};

struct PlanPicture {
  std::vector<std::string> title;  // lines above the bar
  // The position in this list decides fill and colour, so give all categories always in the same order; those without
  // bytes are not shown. Their sum is the length of the bar.
  std::vector<PlanSegment> segments;
  std::optional<int64_t> line_bytes;  // the budget; empty: none given
  std::vector<PlanPhase> phases;
  std::vector<std::string> footer;  // lines below
};

struct PrintStyle {
  int width = 80;       // columns; at least 40 are used
  bool colour = false;  // ANSI colours; fills differ without them, too
};

// The style for a file descriptor: its width and colours when it is a terminal, unless NO_COLOR is set (to anything but
// the empty string) or TERM is "dumb"; 80 columns without colours when it is not.
PrintStyle terminal_style(int fd);

// The whole picture, UTF-8, each line ended by "\n", none wider than style.width. Control characters in texts (a model
// file may hold anything) are printed as "?".
std::string print_plan(const PlanPicture& picture, const PrintStyle& style);

}  // namespace plimsoll
