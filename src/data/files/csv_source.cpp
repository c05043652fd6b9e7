// Comma-separated values as RFC 4180 has them: a header, quotes around cells with commas, quotes or line ends, a quote
// in quotes doubled. Line ends are LF or CRLF; blank lines are left out; a quote inside an unquoted cell is a letter.
#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "data/files/char_stream.h"
#include "data/files/row_reader.h"
#include "data/jinja/json.h"

namespace plimsoll {
namespace {

using jinja::Value;

constexpr size_t kMaxColumns = 4096;

// Columns that hold a list have it as JSON in their cell.
bool holds_json(std::string_view column, std::string_view cell) {
  static constexpr std::string_view kLists[] = {"messages",       "conversations", "input_ids",  "labels",
                                                "attention_mask", "prompt",        "completion", "chosen",
                                                "rejected",       "tools",         "documents",  "history"};
  return cell.starts_with('[') && std::find(std::begin(kLists), std::end(kLists), column) != std::end(kLists);
}

Value cell_value(const std::string& column, const std::string& cell) {
  if (!is_valid_utf8(cell)) throw jinja::Failure("column " + one_line(column, 40) + " is not UTF-8 text");
  if (holds_json(column, cell)) {
    try {
      return jinja::parse_json(cell);
    } catch (const jinja::Failure&) {
      return Value::string(cell);  // a text that begins with a bracket
    }
  }
  return Value::string(cell);
}

class CsvSource final : public RowSource {
 public:
  CsvSource(const std::string& path, bool tabs) : stream_(path), separator_(tabs ? '\t' : ',') {
    if (tabs) {
      read_record();
      header_ = cells_;
    } else {
      read_header();
    }
    check_header();
  }

  bool next() override { return read_record(); }
  Value value() const override {
    if (!problem_.empty()) throw jinja::Failure(problem_);
    if (cells_.size() != header_.size())
      throw jinja::Failure("the row has " + std::to_string(cells_.size()) + " cells, the header " +
                           std::to_string(header_.size()));
    std::vector<std::pair<Value, Value>> entries;
    entries.reserve(cells_.size());
    for (size_t i = 0; i < cells_.size(); ++i)
      entries.emplace_back(Value::string(header_[i]), cell_value(header_[i], cells_[i]));
    return Value::dict(std::move(entries));
  }
  int64_t line() const override { return line_; }
  int64_t row_bytes() const override { return row_bytes_; }
  const ByteSource& source() const override { return stream_.source(); }

 private:
  // Into cells_; problem_ says what is wrong with it. False at the end of the file.
  bool read_record() {
    while (stream_.peek() == '\n' || stream_.peek() == '\r') stream_.get();
    cells_.clear();
    problem_.clear();
    row_bytes_ = 0;
    line_ = stream_.line();
    if (stream_.peek() == CharStream::kEnd) return false;
    while (read_cell()) {
    }
    return true;
  }

  // False behind the last cell of the record.
  bool read_cell() {
    std::string cell;
    bool quoted = false;
    if (stream_.peek() == '"') {
      quoted = true;
      stream_.get();
      take_quoted(cell);
    }
    bool more = false;
    while (true) {
      const int c = stream_.get();
      if (c == '\r' && stream_.peek() == '\n') continue;
      if (c == CharStream::kEnd || c == '\n') break;
      if (c == separator_) {
        more = true;
        break;
      }
      if (quoted && problem_.empty()) problem_ = "a quoted cell goes on behind its closing quote";
      take(cell, c);
    }
    if (cells_.size() < kMaxColumns) cells_.push_back(std::move(cell));
    else problem_ = "the row has more than " + std::to_string(kMaxColumns) + " cells";
    return more;
  }

  void take_quoted(std::string& cell) {
    while (true) {
      const int c = stream_.get();
      if (c == '"') {
        if (stream_.peek() != '"') return;
        stream_.get();
      }
      if (c == CharStream::kEnd) {
        problem_ = "a quote that opens here is not closed before the end of the file";
        return;
      }
      take(cell, c);
    }
  }

  void take(std::string& cell, int c) {
    if (++row_bytes_ > kMaxRowBytes) fail_long_row(stream_.source().path(), line_, "the row");
    cell.push_back(static_cast<char>(c));
  }

  // The header's line, split by the first of , ; and tab that it has: spreadsheets of some countries write semicolons.
  void read_header() {
    while (stream_.peek() == '\n' || stream_.peek() == '\r') stream_.get();
    line_ = stream_.line();
    std::string text;
    bool quoted = false;
    for (int c = stream_.get(); c != CharStream::kEnd && (quoted || c != '\n'); c = stream_.get()) {
      quoted = quoted != (c == '"');
      take(text, c);
    }
    if (text.ends_with('\r')) text.pop_back();
    if (text.empty()) return;
    for (const char separator : {',', ';', '\t'}) {
      separator_ = separator;
      header_ = split_header(text);
      if (header_.size() > 1) return;
    }
    separator_ = ',';
  }

  std::vector<std::string> split_header(const std::string& text) const {
    std::vector<std::string> names(1);
    bool quoted = false;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '"') {
        if (quoted && i + 1 < text.size() && text[i + 1] == '"') names.back() += text[++i];
        else quoted = !quoted;
      } else if (text[i] == separator_ && !quoted) {
        names.emplace_back();
      } else {
        names.back() += text[i];
      }
    }
    return names;
  }

  void check_header() const {
    const std::string place = stream_.source().path() + ":" + std::to_string(line_);
    if (!problem_.empty()) throw caller_error(place, problem_, "correct the header, the first line");
    std::vector<std::string> names = header_;
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end())
      throw caller_error(place, "the column '" + one_line(*twice, 40) + "' stands twice in the header",
                         "give every column its own name");
    for (const std::string& name : names)
      if (!is_valid_utf8(name))
        throw caller_error(place, "the header is not UTF-8 text", "save the file as UTF-8 with a header line");
  }

  CharStream stream_;
  int separator_;
  std::vector<std::string> header_, cells_;
  std::string problem_;
  int64_t line_ = 1, row_bytes_ = 0;
};

}  // namespace

std::unique_ptr<RowSource> make_csv_source(const std::string& path, bool tabs) {
  return std::make_unique<CsvSource>(path, tabs);
}

}  // namespace plimsoll
