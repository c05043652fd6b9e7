#include "engines/measured/measured_rows.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace plimsoll {

std::string_view RowCells::operator[](std::string_view column) const {
  const auto found = std::find(table->header.begin(), table->header.end(), column);
  return found == table->header.end() ? std::string_view{}
                                      : (*cells)[static_cast<size_t>(found - table->header.begin())];
}

std::optional<double> RowCells::number(std::string_view column) const { return parse_number((*this)[column]); }

int64_t RowCells::integer(std::string_view column, int64_t otherwise) const {
  const auto value = number(column);
  return value && *value >= 0 && *value < 1e15 ? static_cast<int64_t>(*value) : otherwise;
}

std::string_view note_value(std::string_view notes, std::string_view key) {
  for (size_t at = notes.find(key); at != std::string_view::npos; at = notes.find(key, at + 1)) {
    const bool starts = at == 0 || notes[at - 1] == ' ' || notes[at - 1] == ';' || notes[at - 1] == '(';
    const size_t sign = at + key.size();
    if (!starts || sign >= notes.size() || notes[sign] != '=') continue;
    const size_t end = std::min(notes.find_first_of(" ;,)", sign + 1), notes.size());
    return notes.substr(sign + 1, end - sign - 1);
  }
  return {};
}

std::vector<MeasuredRow> read_measured_rows(const CsvTable& table, const std::string& folder, std::string_view name) {
  const auto has = [&](std::string_view column) {
    return std::find(table.header.begin(), table.header.end(), column) != table.header.end();
  };
  const bool traced = has("peak_bytes") && has("config_file");
  const bool published = has("framework") && has("measured_mem_gib_per_gpu");
  if (!traced && !published)
    throw caller_error(std::string(name), "has the columns of no table of measured runs",
                       has("framework")    ? "it lacks measured_mem_gib_per_gpu; docs/engines.md lists the columns"
                       : has("peak_bytes") ? "it lacks config_file; docs/engines.md lists the columns"
                                           : "it lacks framework and measured_mem_gib_per_gpu, or config_file and "
                                             "peak_bytes; docs/engines.md lists the columns");
  std::vector<MeasuredRow> rows;
  for (const auto& cells : table.rows) {
    const RowCells row{&table, &cells};
    rows.push_back(traced ? torch_peak_row(row, folder) : published_row(row));
  }
  return rows;
}

}  // namespace plimsoll
