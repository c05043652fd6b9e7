// Lines of a JSONL file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tensor_index.h"

namespace plimsoll {

// Line by line, without the line end (LF or CRLF; the last line may have none) and without a byte-order mark. Lines of
// blanks are left out. Errors: a file that cannot be read (InputFile), a line longer than `max_line_bytes` (caller).
class LineReader {
 public:
  LineReader(std::string path, int64_t max_line_bytes);

  bool next(std::string_view& line);                    // false at the end; `line` is valid until the next call
  int64_t line_number() const { return line_number_; }  // of the line last given, from 1
  std::string place() const;                            // "FILE:LINE"

 private:
  bool fill();  // reads more behind what is left; false at the end of the file

  InputFile file_;
  int64_t max_line_bytes_;
  int64_t offset_ = 0;  // in the file, of what comes next
  std::vector<char> buffer_;
  size_t begin_ = 0;  // of what is left in the buffer
  int64_t line_number_ = 0;
};

}  // namespace plimsoll
