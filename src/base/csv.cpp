#include "base/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/regular_file.h"
#include "base/text.h"

namespace plimsoll {
namespace {

constexpr size_t kMaxColumns = 4096;
constexpr size_t kMaxBytes = size_t{64} << 20;

Error bad_row(std::string_view source, size_t line, const std::string& problem) {
  return caller_error(fmt::format("{}:{}", one_line(source, 200), line), problem,
                      "write one row a line, with quotes around cells that hold commas");
}

}  // namespace

size_t CsvTable::column(std::string_view name, std::string_view source) const {
  for (size_t i = 0; i < header.size(); ++i)
    if (header[i] == name) return i;
  throw caller_error(one_line(source, 200), fmt::format("has no column '{}'", name),
                     "give it the header that the documentation of the file shows");
}

CsvTable parse_csv(std::string_view text, std::string_view source) {
  if (text.size() > kMaxBytes)
    throw caller_error(one_line(source, 200), fmt::format("is {} bytes, more than 64 MiB", text.size()),
                       "give a table, not a data set");
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  CsvTable table;
  std::vector<std::string> cells(1);
  bool quoted = false, was_quoted = false;
  size_t line = 1, first_line = 1;
  const auto take_header = [&] {
    table.header = cells;
    for (size_t i = 0; i < cells.size(); ++i)
      if (!cells[i].empty() && std::find(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(i), cells[i]) !=
                                   cells.begin() + static_cast<std::ptrdiff_t>(i))
        throw bad_row(source, first_line, fmt::format("two columns named {}", one_line(cells[i], 40)));
  };
  const auto end_row = [&] {
    const bool blank = cells.size() == 1 && !was_quoted && (cells[0].empty() || cells[0].front() == '#');
    if (!blank) {
      if (table.header.empty()) take_header();
      else if (cells.size() != table.header.size())
        throw bad_row(source, first_line,
                      fmt::format("{} cells, the header has {}", cells.size(), table.header.size()));
      else table.rows.push_back(cells);
    }
    cells.assign(1, "");
    was_quoted = false;
    first_line = line;
  };
  bool comment = false;  // a line that begins with #, up to its end
  for (size_t i = 0; i < text.size(); ++i) {
    // Lines may end with a carriage return alone.
    const bool lone = text[i] == '\r' && (i + 1 == text.size() || text[i + 1] != '\n');
    const char c = lone && !quoted ? '\n' : text[i];
    if (c == '\n') ++line;
    if (comment) {
      if (c != '\n') continue;
      comment = false;
      first_line = line;
      continue;
    }
    if (quoted) {
      if (c != '"') cells.back() += c;
      else if (i + 1 < text.size() && text[i + 1] == '"') cells.back() += text[++i];
      else quoted = false;
    } else if (c == '"' && cells.back().empty()) {
      quoted = was_quoted = true;
    } else if (c == ',') {
      if (cells.size() >= kMaxColumns) throw bad_row(source, first_line, "more than 4096 cells");
      cells.emplace_back();
    } else if (c == '\n') {
      end_row();
    } else if (c == '#' && cells.size() == 1 && cells[0].empty()) {
      comment = true;
    } else if (c != '\r') {
      cells.back() += c;
    }
  }
  if (quoted) throw bad_row(source, first_line, "a quote that is never closed");
  end_row();
  if (table.header.empty())
    throw caller_error(one_line(source, 200), "holds no header", "the first line names the columns");
  return table;
}

CsvTable read_csv(const std::string& path) {
  require_regular_file(path);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw world_error(one_line(path, 200), "cannot be read", "check the path and its permissions", errno);
  std::string text;
  text.reserve(4096);
  std::vector<char> block(1 << 16);
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())) || file.gcount() > 0) {
    text.append(block.data(), static_cast<size_t>(file.gcount()));
    if (text.size() > kMaxBytes) break;
  }
  if (file.bad()) throw world_error(one_line(path, 200), "cannot be read", "check that it is a file", errno);
  return parse_csv(text, path);
}

std::string csv_cell(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace plimsoll
