// Input files of commands, where "-" is stdin.
#pragma once

#include <cstdint>
#include <string>

namespace plimsoll::cli {

// The whole file. Missing or no regular file: a caller Error; unreadable: a world Error; over `limit_bytes`: a caller
// Error.
std::string read_input(const std::string& path, int64_t limit_bytes);

// Line by line, without the line's end, reading ahead a little. Errors as read_input; a line over kMaxLineBytes is a
// caller Error.
class LineReader {
 public:
  static constexpr int64_t kMaxLineBytes = int64_t{1} << 30;

  explicit LineReader(const std::string& path);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  bool next(std::string& line);  // false: the end
  int64_t line_number() const { return line_number_; }

 private:
  std::string path_;
  int descriptor_;
  std::string ahead_;
  size_t begin_ = 0;
  int64_t line_number_ = 0;
  bool at_end_ = false;
};

}  // namespace plimsoll::cli
