// Rows of one JSON document: an array, or an object that has one under "data" or "train". The document is never built;
// each row is cut out of it and parsed alone.
#include "base/error.h"
#include "data/files/json_scanner.h"
#include "data/files/row_reader.h"
#include "data/jinja/json.h"

namespace plimsoll {
namespace {

class JsonSource final : public RowSource {
 public:
  explicit JsonSource(const std::string& path) : stream_(path) {
    stream_.skip_blanks();
    if (stream_.peek() == '{') {
      in_object_ = true;
      if (find_row_array(stream_) != RowArray::found)
        fail("the object has no list of rows under \"data\" or \"train\"");
    } else if (stream_.get() != '[') {
      fail("the document is no list of rows");
    }
  }

  bool next() override {
    stream_.skip_blanks();
    if (finished_) return false;
    if (stream_.peek() == ']') {
      finish();
      return false;
    }
    if (stream_.peek() == CharStream::kEnd) fail("the list of rows does not end");
    if (!first_) {
      if (stream_.peek() != ',') fail("a comma is missing between two rows");
      stream_.get();
      stream_.skip_blanks();
    }
    first_ = false;
    line_ = stream_.line();
    text_.clear();
    if (!take_json_value(stream_, &text_, kMaxRowBytes)) {
      if (static_cast<int64_t>(text_.size()) > kMaxRowBytes) fail_long_row(stream_.source().path(), line_, "the row");
      fail("the document ends in the middle of a row");
    }
    return true;
  }
  jinja::Value value() const override { return jinja::parse_json(text_); }
  int64_t line() const override { return line_; }
  int64_t row_bytes() const override { return static_cast<int64_t>(text_.size()); }
  const ByteSource& source() const override { return stream_.source(); }

 private:
  // What follows the array is passed over, so that a file cut off, or two documents in one, are noticed.
  void finish() {
    finished_ = true;
    stream_.get();
    if (in_object_) {
      while (true) {
        stream_.skip_blanks();
        const int c = stream_.peek();
        if (c == '}') break;
        if (c == ',' || c == ':') stream_.get();
        else if (c == CharStream::kEnd || c == ']' || !take_json_value(stream_, nullptr, 0))
          fail("the object around the rows does not end");
      }
      stream_.get();
    }
    stream_.skip_blanks();
    if (stream_.peek() != CharStream::kEnd) fail("something follows the document");
  }

  [[noreturn]] void fail(const char* what) const {
    throw caller_error(stream_.source().path() + ":" + std::to_string(stream_.line()), what,
                       "write one list [{…}, …], or one object a line in a file named .jsonl");
  }

  CharStream stream_;
  std::string text_;
  int64_t line_ = 1;
  bool first_ = true, in_object_ = false, finished_ = false;
};

}  // namespace

std::unique_ptr<RowSource> make_json_source(const std::string& path) { return std::make_unique<JsonSource>(path); }

}  // namespace plimsoll
