// Data files → rows, one at a time, through buffers that grow with the longest row and never with the file.
//
//   JSONL       a JSON object a line; blank lines are left out
//   JSON        an array of objects, or an object with such an array under "data" or "train"
//   CSV, TSV    RFC 4180, with a header; cells are strings. A header without commas may be split by ; or tabs
//   text        one document a file, a paragraph (between blank lines) or a line; see TextSplit
// each also packed (byte_source.h). The kind follows from the name (.jsonl, .ndjson, .json, .csv, .tsv, .txt, .text,
// .md, behind which .gz and .zst do not count); names that do not say, and .json, are recognised by their first bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "config/recipe/recipe.h"
#include "data/files/byte_source.h"
#include "data/jinja/value.h"

namespace plimsoll {

inline constexpr int64_t kMaxRowBytes = int64_t{64} << 20;
inline constexpr int64_t kTextPieceBytes = 256 << 10;

enum class FileFormat { jsonl, json, csv, tsv, text };
const char* name_of(FileFormat format);

// Throws a caller Error for a file of no known kind.
FileFormat recognise_format(const std::string& path);

// A document that is longer than kTextPieceBytes comes in pieces, cut behind a paragraph, a line or a word.
struct TextPiece {
  bool is_piece = false;  // of a file that is one document
  bool first = true, last = true;
};

// One format. `text` views into the source until the next call of next().
class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual bool next() = 0;
  virtual jinja::Value value() const = 0;  // jinja::Failure: the row is bad
  virtual int64_t line() const = 0;
  virtual int64_t row_bytes() const = 0;
  virtual const ByteSource& source() const = 0;
  virtual TextPiece piece() const { return {}; }
};

class RowReader {
 public:
  RowReader(const std::string& path, TextSplit split);

  // To the next row; false at the end. Caller Errors: a row of more than kMaxRowBytes, a file that is not what it seems
  // to be; others as ByteSource. The file is left at a defined place only while true is given.
  bool next();

  // The row just found. Throws jinja::Failure where it cannot be understood; next() then goes on behind it.
  jinja::Value value() const { return rows_->value(); }
  int64_t row_bytes() const { return rows_->row_bytes(); }
  TextPiece piece() const { return rows_->piece(); }
  std::string place() const;  // "FILE:LINE", where the row begins

  FileFormat format() const { return format_; }
  Compression compression() const { return rows_->source().compression(); }
  int64_t unpacking_bytes() const { return rows_->source().buffer_bytes(); }

 private:
  std::string path_;
  FileFormat format_;
  std::unique_ptr<RowSource> rows_;
  int64_t row_ = 0;
};

std::unique_ptr<RowSource> make_jsonl_source(const std::string& path);
std::unique_ptr<RowSource> make_json_source(const std::string& path);
std::unique_ptr<RowSource> make_csv_source(const std::string& path, bool tabs);
std::unique_ptr<RowSource> make_text_source(const std::string& path, TextSplit split);

[[noreturn]] void fail_long_row(const std::string& path, int64_t line, const char* what);

}  // namespace plimsoll
