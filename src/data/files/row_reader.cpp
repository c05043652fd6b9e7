#include "data/files/row_reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "data/files/char_stream.h"
#include "data/files/json_scanner.h"

namespace plimsoll {
namespace {

const char* const kKnownNames = "name it .jsonl, .json, .csv, .tsv or .txt, whichever it is (.gz and .zst may follow)";

// The name without folders, without .gz and .zst, in lower case.
std::string plain_name(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1);
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const std::string_view packed : {".gz", ".gzip", ".zst", ".zstd"})
    if (name.ends_with(packed)) return name.substr(0, name.size() - packed.size());
  return name;
}

// By the first bytes: what `name_says_json` allows to be JSON that is not one object a line.
FileFormat recognise_content(const std::string& path, bool name_says_json) {
  CharStream stream(path);
  stream.skip_blanks();
  const int first = stream.peek();
  if (first == '[') return FileFormat::json;
  if (first == '{') return find_row_array(stream) == RowArray::found ? FileFormat::json : FileFormat::jsonl;
  if (name_says_json || first == CharStream::kEnd) return FileFormat::jsonl;
  std::string head;
  for (int i = 0; i < 4 && stream.peek() != CharStream::kEnd; ++i) head += static_cast<char>(stream.get());
  if (head == "PAR1")
    throw caller_error(path, "is a Parquet file, which is not read",
                       "write it as JSONL: pandas.read_parquet(FILE).to_json(FILE, orient=\"records\", lines=True)");
  throw caller_error(path, "neither its name nor its first bytes say what kind of data it is", kKnownNames);
}

std::unique_ptr<RowSource> make_source(const std::string& path, FileFormat format, TextSplit split) {
  switch (format) {
    case FileFormat::jsonl:
      return make_jsonl_source(path);
    case FileFormat::json:
      return make_json_source(path);
    case FileFormat::csv:
    case FileFormat::tsv:
      return make_csv_source(path, format == FileFormat::tsv);
    case FileFormat::text:
      break;
  }
  return make_text_source(path, split);
}

}  // namespace

const char* name_of(FileFormat format) {
  constexpr std::array<const char*, 5> kNames = {"JSONL", "JSON", "CSV", "TSV", "text"};
  return kNames[static_cast<size_t>(format)];
}

FileFormat recognise_format(const std::string& path) {
  const std::string name = plain_name(path);
  static constexpr std::array<std::pair<std::string_view, FileFormat>, 7> kNames = {{{".jsonl", FileFormat::jsonl},
                                                                                     {".ndjson", FileFormat::jsonl},
                                                                                     {".csv", FileFormat::csv},
                                                                                     {".tsv", FileFormat::tsv},
                                                                                     {".txt", FileFormat::text},
                                                                                     {".text", FileFormat::text},
                                                                                     {".md", FileFormat::text}}};
  for (const auto& [end, format] : kNames)
    if (name.ends_with(end)) return format;
  return recognise_content(path, name.ends_with(".json"));
}

RowReader::RowReader(const std::string& path, TextSplit split)
    : path_(path), format_(recognise_format(path)), rows_(make_source(path, format_, split)) {}

bool RowReader::next() {
  if (!rows_->next()) return false;
  ++row_;
  return true;
}

std::string RowReader::place() const {
  std::string place = path_ + ":" + std::to_string(rows_->line());
  if (format_ == FileFormat::json) place += " (row " + std::to_string(row_) + ")";
  return place;
}

void fail_long_row(const std::string& path, int64_t line, const char* what) {
  throw caller_error(
      path + ":" + std::to_string(line), std::string(what) + " is longer than " + format_bytes(kMaxRowBytes),
      "split long documents into several rows, or give them as plain text (.txt), which is read in pieces");
}

}  // namespace plimsoll
