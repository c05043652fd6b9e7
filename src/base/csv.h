// Small tables of comma-separated values (RFC 4180), read whole: catalogues, measured rows, constants.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

struct CsvTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;  // each as long as the header

  // Index of a column; throws a caller Error that names `source` where there is none.
  size_t column(std::string_view name, std::string_view source) const;
};

// Quotes around cells with commas, quotes or line ends; a quote inside is doubled. Blank lines and lines that begin
// with # are left out. Throws a caller Error naming `source` and the line for a row of another length, an open quote,
// more than 4096 columns, or a text of more than 64 MiB.
CsvTable parse_csv(std::string_view text, std::string_view source);

// Reads the file first. Throws a world Error where it cannot be read.
CsvTable read_csv(const std::string& path);

// A cell as it must be written.
std::string csv_cell(std::string_view text);

}  // namespace plimsoll
