// Lines of a data file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/files/byte_source.h"

namespace plimsoll {

// Line by line, without the line end (LF or CRLF; the last line may have none) and without a byte-order mark. Errors as
// ByteSource, and for a line of more than kMaxRowBytes.
class LineReader {
 public:
  explicit LineReader(const std::string& path) : source_(path) {}

  bool next(std::string_view& line);                    // false at the end; `line` is valid until the next call
  int64_t line_number() const { return line_number_; }  // of the line last given, from 1
  const ByteSource& source() const { return source_; }

 private:
  bool fill();  // reads more behind what is left; false at the end of the file

  ByteSource source_;
  std::vector<char> buffer_;
  size_t begin_ = 0;  // of what is left in the buffer
  int64_t line_number_ = 0;
};

inline bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

}  // namespace plimsoll
