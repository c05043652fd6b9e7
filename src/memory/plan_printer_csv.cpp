#include "memory/plan_printer_csv.h"

#include <fmt/format.h>

#include <iterator>

namespace plimsoll {
namespace {

void append_field(std::string& line, std::string_view field) {
  if (field.find_first_of(",\"\r\n") == std::string_view::npos) {
    line += field;
    return;
  }
  line += '"';
  for (const char c : field) {
    if (c == '"') line += '"';
    line += c;
  }
  line += '"';
}

}  // namespace

void write_buffers_csv(std::span<const BufferRow> rows, const std::function<void(std::string_view)>& sink) {
  sink("name,category,memory_space,size_bytes,offset,first,last,phase\n");
  std::string line;
  for (const BufferRow& row : rows) {
    line.clear();
    for (const std::string* text : {&row.name, &row.category, &row.memory_space}) {
      append_field(line, *text);
      line += ',';
    }
    fmt::format_to(std::back_inserter(line), "{},{},{},{},", row.size_bytes, row.offset, row.first, row.last);
    append_field(line, row.phase);
    line += '\n';
    sink(line);
  }
}

}  // namespace plimsoll
