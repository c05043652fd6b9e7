// Columns of text that line up, for people.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace plimsoll {

struct Column {
  std::string head;   // may have lines
  bool left = false;  // else its cells end at one place, as figures do
};

// The widest line that a table takes: a terminal of the usual width.
inline constexpr int kTableColumns = 80;

// Columns as wide as what stands in them, two blanks apart, or one where they would not fit into kTableColumns. If even
// that is too wide, first cells for which there is no room get a line of their own, in front of the others. The last
// cell of a row that is shorter than `columns` may run on to the end of the line. Only cells that cannot be broken,
// such as addresses, may pass the limit.
std::string table_text(std::span<const Column> columns, std::span<const std::vector<std::string>> rows, int indent = 2);

}  // namespace plimsoll
