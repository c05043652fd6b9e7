#include "data/files/line_source.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "data/files/row_reader.h"
#include "data/jinja/json.h"

namespace plimsoll {
namespace {

constexpr size_t kReadBytes = 256 << 10;

class JsonlSource final : public RowSource {
 public:
  explicit JsonlSource(const std::string& path) : lines_(path) {}

  bool next() override {
    while (lines_.next(text_))
      if (!is_blank(text_)) return true;
    return false;
  }
  jinja::Value value() const override { return jinja::parse_json(text_); }
  int64_t line() const override { return lines_.line_number(); }
  int64_t row_bytes() const override { return static_cast<int64_t>(text_.size()); }
  const ByteSource& source() const override { return lines_.source(); }

 private:
  LineReader lines_;
  std::string_view text_;
};

}  // namespace

bool LineReader::fill() {
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(begin_));
  begin_ = 0;
  const size_t old = buffer_.size();
  buffer_.resize(old + kReadBytes);
  const size_t count = source_.read(std::span(buffer_).subspan(old));
  buffer_.resize(old + count);
  return count > 0;
}

bool LineReader::next(std::string_view& line) {
  size_t searched = 0;
  while (true) {
    const char* start = buffer_.data() + begin_;
    const size_t left = buffer_.size() - begin_;
    const void* newline = left > searched ? std::memchr(start + searched, '\n', left - searched) : nullptr;
    searched = left;
    if (static_cast<int64_t>(newline ? static_cast<const char*>(newline) - start : left) > kMaxRowBytes)
      fail_long_row(source_.path(), line_number_ + 1, "the line");
    if (newline == nullptr && fill()) continue;
    if (newline == nullptr && left == 0) return false;
    start = buffer_.data() + begin_;
    size_t length = newline ? static_cast<size_t>(static_cast<const char*>(newline) - start) : left;
    begin_ += length + (newline ? 1 : 0);
    ++line_number_;
    if (length > 0 && start[length - 1] == '\r') --length;
    line = std::string_view(start, length);
    if (line_number_ == 1 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
    return true;
  }
}

std::unique_ptr<RowSource> make_jsonl_source(const std::string& path) { return std::make_unique<JsonlSource>(path); }

}  // namespace plimsoll
