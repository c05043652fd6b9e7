#include "base/table.h"

#include <algorithm>
#include <numeric>

#include "base/wrap.h"

namespace plimsoll {
namespace {

using Row = std::vector<std::string>;

struct Layout {
  std::vector<int> widths;
  int gap = 2, indent = 2;
  int total() const {
    return indent + std::accumulate(widths.begin(), widths.end(), gap * (static_cast<int>(widths.size()) - 1));
  }
};

// The lines of the heads, the last of each at the bottom.
std::vector<Row> head_rows(std::span<const Column> columns) {
  std::vector<Row> rows;
  for (size_t at = 0; at < columns.size(); ++at) {
    std::vector<std::string> lines;
    for (size_t begin = 0; begin <= columns[at].head.size();) {
      const size_t end = std::min(columns[at].head.find('\n', begin), columns[at].head.size());
      lines.push_back(columns[at].head.substr(begin, end - begin));
      begin = end + 1;
    }
    while (rows.size() < lines.size()) rows.insert(rows.begin(), Row(columns.size()));
    for (size_t line = 0; line < lines.size(); ++line) rows[rows.size() - lines.size() + line][at] = lines[line];
  }
  if (std::all_of(columns.begin(), columns.end(), [](const Column& column) { return column.head.empty(); })) return {};
  return rows;
}

Layout layout_of(std::span<const Column> columns, std::span<const Row> rows, const std::vector<Row>& heads,
                 int indent) {
  Layout layout;
  layout.indent = indent;
  layout.widths.assign(columns.size(), 0);
  const auto widen = [&](const Row& row, size_t cells) {
    for (size_t at = 0; at < cells; ++at) layout.widths[at] = std::max(layout.widths[at], text_columns(row[at]));
  };
  for (const Row& row : heads) widen(row, columns.size());
  for (const Row& row : rows)
    widen(row, row.size() < columns.size() ? std::max<size_t>(row.size(), 1) - 1 : row.size());
  if (layout.total() > kTableColumns) layout.gap = 1;
  if (const int over = layout.total() - kTableColumns; over > 0)
    layout.widths[0] = std::max(layout.widths[0] - over, 0);
  return layout;
}

std::string row_text(std::span<const Column> columns, const Row& row, const Layout& layout) {
  const std::string margin(static_cast<size_t>(layout.indent), ' ');
  std::string text = margin;
  int column = layout.indent, end = layout.indent;  // where the text is, and where the cell should end
  for (size_t at = 0; at < row.size(); ++at) {
    const int width = text_columns(row[at]);
    const int begin = end + (at == 0 ? 0 : layout.gap);
    end = begin + layout.widths[at];
    const int place = columns[at].left || (row.size() < columns.size() && at + 1 == row.size()) ? begin : end - width;
    if (row[at].empty()) continue;
    text += std::string(static_cast<size_t>(std::max(place - column, 0)), ' ') + row[at];
    column = std::max(place, column) + width;
    if (at == 0 && width > layout.widths[0] && row.size() > 1) {
      text += "\n";
      column = 0;
    }
  }
  return text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
}

}  // namespace

std::string table_text(std::span<const Column> columns, std::span<const Row> rows, int indent) {
  const std::vector<Row> heads = head_rows(columns);
  const Layout layout = layout_of(columns, rows, heads, indent);
  std::string text;
  for (const Row& row : heads) text += row_text(columns, row, layout);
  for (const Row& row : rows) text += row_text(columns, row, layout);
  return text;
}

}  // namespace plimsoll
