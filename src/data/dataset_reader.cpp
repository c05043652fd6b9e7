#include "data/dataset_reader.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace plimsoll {
namespace {
constexpr int64_t kReadBytes = 1 << 20;
}

LineReader::LineReader(std::string path, int64_t max_line_bytes)
    : file_(std::move(path)), max_line_bytes_(max_line_bytes) {}

std::string LineReader::place() const { return file_.path() + ":" + std::to_string(line_number_); }

bool LineReader::fill() {
  if (offset_ == file_.size()) return false;
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(begin_));
  begin_ = 0;
  const auto more = static_cast<size_t>(std::min(kReadBytes, file_.size() - offset_));
  const size_t old = buffer_.size();
  buffer_.resize(old + more);
  file_.read(offset_, std::as_writable_bytes(std::span(buffer_).subspan(old)));
  offset_ += static_cast<int64_t>(more);
  return true;
}

bool LineReader::next(std::string_view& line) {
  size_t searched = 0;
  while (true) {
    const char* start = buffer_.data() + begin_;
    const size_t left = buffer_.size() - begin_;
    const void* newline = left > searched ? std::memchr(start + searched, '\n', left - searched) : nullptr;
    searched = left;
    const bool too_long =
        static_cast<int64_t>(newline ? static_cast<const char*>(newline) - start : left) > max_line_bytes_;
    if (too_long) {
      ++line_number_;
      throw caller_error(place(), "the line is longer than " + std::to_string(max_line_bytes_) + " bytes",
                         "write one JSON object a line, and split long documents");
    }
    if (newline == nullptr && fill()) continue;
    if (newline == nullptr && left == 0) return false;
    start = buffer_.data() + begin_;
    size_t length = newline ? static_cast<size_t>(static_cast<const char*>(newline) - start) : left;
    begin_ += length + (newline ? 1 : 0);
    ++line_number_;
    searched = 0;
    if (length > 0 && start[length - 1] == '\r') --length;
    line = std::string_view(start, length);
    if (line_number_ == 1 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) return true;
  }
}

}  // namespace plimsoll
