// Plain text as rows {"text": …}.
#include "base/error.h"
#include "base/text.h"
#include "data/files/line_source.h"
#include "data/files/row_reader.h"
#include "data/jinja/meter.h"

namespace plimsoll {
namespace {

using jinja::Value;

Value text_value(const std::string& text) {
  if (!is_valid_utf8(text)) throw jinja::Failure("the text is not valid UTF-8");
  return Value::dict({{Value::string("text"), Value::string(text)}});
}

// A line or a paragraph a row.
class LinesSource final : public RowSource {
 public:
  LinesSource(const std::string& path, bool paragraphs) : lines_(path), paragraphs_(paragraphs) {}

  bool next() override {
    text_.clear();
    for (std::string_view line; lines_.next(line);) {
      if (is_blank(line)) {
        if (text_.empty()) continue;
        return true;
      }
      if (text_.empty()) first_line_ = lines_.line_number();
      else text_ += '\n';
      text_ += line;
      if (static_cast<int64_t>(text_.size()) > kMaxRowBytes)
        fail_long_row(lines_.source().path(), first_line_, "the paragraph");
      if (!paragraphs_) return true;
    }
    return !text_.empty();
  }
  Value value() const override { return text_value(text_); }
  int64_t line() const override { return first_line_; }
  int64_t row_bytes() const override { return static_cast<int64_t>(text_.size()); }
  const ByteSource& source() const override { return lines_.source(); }

 private:
  LineReader lines_;
  bool paragraphs_;
  std::string text_;
  int64_t first_line_ = 1;
};

// The whole file is one document, in pieces of at most kTextPieceBytes.
class DocumentSource final : public RowSource {
 public:
  explicit DocumentSource(const std::string& path) : source_(path) {
    fill();
    if (ahead_.starts_with("\xEF\xBB\xBF")) ahead_.erase(0, 3);
  }

  bool next() override {
    for (const char c : text_) line_ += c == '\n' ? 1 : 0;
    piece_.first = !begun_;
    begun_ = true;
    fill();
    if (ahead_.empty()) return false;
    const size_t end = ended_ ? ahead_.size() : cut();
    text_.assign(ahead_, 0, end);
    ahead_.erase(0, end);
    piece_.last = ended_ && ahead_.empty();
    return true;
  }
  Value value() const override { return text_value(text_); }
  int64_t line() const override { return line_; }
  int64_t row_bytes() const override { return static_cast<int64_t>(text_.size()); }
  const ByteSource& source() const override { return source_; }
  TextPiece piece() const override { return piece_; }

 private:
  // One byte more than a piece, so that the end of the file is known when the last piece is given.
  void fill() {
    const size_t old = ahead_.size();
    if (ended_ || old > kTextPieceBytes) return;
    ahead_.resize(kTextPieceBytes + 1);
    size_t size = old;
    while (size < ahead_.size()) {
      const size_t count = source_.read(std::span(ahead_).subspan(size));
      size += count;
      ended_ = count == 0;
      if (ended_) break;
    }
    ahead_.resize(size);
  }

  // Behind the last blank line of the second half, else the last line, the last word, the last character.
  size_t cut() const {
    constexpr size_t kHalf = kTextPieceBytes / 2;
    for (const std::string_view mark : {"\n\n", "\n", " "}) {
      const size_t found = ahead_.rfind(mark, kTextPieceBytes - mark.size());
      if (found != std::string::npos && found >= kHalf) return found + mark.size();
    }
    size_t end = kTextPieceBytes;
    while (end > kHalf && (static_cast<unsigned char>(ahead_[end]) & 0xC0U) == 0x80U) --end;
    return end;
  }

  ByteSource source_;
  std::string ahead_, text_;
  int64_t line_ = 1;
  bool begun_ = false, ended_ = false;
  TextPiece piece_{.is_piece = true};
};

}  // namespace

std::unique_ptr<RowSource> make_text_source(const std::string& path, TextSplit split) {
  if (split == TextSplit::file) return std::make_unique<DocumentSource>(path);
  return std::make_unique<LinesSource>(path, split == TextSplit::paragraph);
}

}  // namespace plimsoll
