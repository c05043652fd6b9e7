#include "data/files/json_scanner.h"

namespace plimsoll {
namespace {

constexpr size_t kKeyBytes = 64;  // longer keys are none of ours

bool ends_scalar(int c) {
  return c == CharStream::kEnd || c == ',' || c == ']' || c == '}' || c == ':' || c == ' ' || c == '\t' || c == '\n' ||
         c == '\r';
}

// A string as it stands, without its quotes, of which at most kKeyBytes are kept. False: the file ended inside of it.
bool take_key(CharStream& stream, std::string& key) {
  stream.get();
  for (int c = stream.get(); c != '"'; c = stream.get()) {
    if (c == CharStream::kEnd) return false;
    if (key.size() <= kKeyBytes) key.push_back(static_cast<char>(c));
    if (c == '\\') stream.get();
  }
  return true;
}

}  // namespace

bool take_json_value(CharStream& stream, std::string* text, int64_t limit) {
  int64_t depth = 0, taken = 0;
  bool in_string = false, escaped = false;
  while (true) {
    const int c = stream.peek();
    if (c == CharStream::kEnd) return depth == 0 && !in_string && taken > 0;
    if (depth == 0 && !in_string && taken > 0 && ends_scalar(c)) return true;
    stream.get();
    if (text != nullptr) {
      text->push_back(static_cast<char>(c));
      if (static_cast<int64_t>(text->size()) > limit) return false;
    }
    ++taken;
    if (escaped) {
      escaped = false;
    } else if (in_string) {
      escaped = c == '\\';
      in_string = c != '"';
      if (!in_string && depth == 0) return true;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (--depth <= 0) return true;
    }
  }
}

RowArray find_row_array(CharStream& stream) {
  stream.get();  // {
  while (true) {
    stream.skip_blanks();
    if (stream.peek() != '"') return stream.peek() == '}' ? RowArray::none : RowArray::broken;
    std::string key;
    if (!take_key(stream, key)) return RowArray::broken;
    stream.skip_blanks();
    if (stream.get() != ':') return RowArray::broken;
    stream.skip_blanks();
    if ((key == "data" || key == "train") && stream.peek() == '[') {
      stream.get();
      stream.skip_blanks();
      if (stream.peek() == '{') return RowArray::found;
      return RowArray::none;
    }
    if (!take_json_value(stream, nullptr, 0)) return RowArray::broken;
    stream.skip_blanks();
    if (stream.peek() == ',') stream.get();
  }
}

}  // namespace plimsoll
