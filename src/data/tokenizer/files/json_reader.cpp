#include "data/tokenizer/files/json_reader.h"

#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "data/tokenizer/unicode.h"

namespace plimsoll::tokenizer {

void JsonReader::fail(const std::string& problem) const {
  throw caller_error(std::string(source_), problem + " (at byte " + std::to_string(at_) + ")",
                     "use a tokenizer.json as the tokenizers library writes it");
}

char JsonReader::peek_char() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
    ++at_;
  if (at_ >= text_.size()) fail("the JSON ends too early");
  return text_[at_];
}

void JsonReader::expect(char c) {
  if (peek_char() != c) fail(std::string("the JSON has '") + text_[at_] + "' where '" + c + "' is needed");
  ++at_;
}

JsonReader::Kind JsonReader::peek() {
  const char c = peek_char();
  switch (c) {
    case '{':
      return Kind::object;
    case '[':
      return Kind::array;
    case '"':
      return Kind::string;
    case 't':
    case 'f':
      return Kind::boolean;
    case 'n':
      return Kind::null;
    default:
      break;
  }
  if (c == '-' || (c >= '0' && c <= '9')) return Kind::number;
  fail("this is not JSON");
}

void JsonReader::begin_object() { expect('{'), fresh_ = true; }
void JsonReader::begin_array() { expect('['), fresh_ = true; }

bool JsonReader::next_item(char close) {
  const char c = peek_char();
  if (c == close) {
    ++at_;
    fresh_ = false;
    return false;
  }
  if (!fresh_) expect(',');
  fresh_ = false;
  return true;
}

bool JsonReader::next_key(std::string& key) {
  if (!next_item('}')) return false;
  read_string(key);
  expect(':');
  return true;
}

bool JsonReader::next_element() { return next_item(']'); }

uint32_t JsonReader::read_hex4() {
  uint32_t value = 0;
  if (text_.size() - at_ < 4) fail("a \\u escape is cut off");
  const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, value, 16);
  if (error != std::errc() || end != text_.data() + at_ + 4) fail("a \\u escape without four hexadecimal digits");
  at_ += 4;
  return value;
}

void JsonReader::read_escape(std::string& out) {
  if (at_ >= text_.size()) fail("the JSON ends too early");
  const char c = text_[at_++];
  switch (c) {
    case '"':
    case '\\':
    case '/':
      out += c;
      return;
    case 'b':
      out += '\b';
      return;
    case 'f':
      out += '\f';
      return;
    case 'n':
      out += '\n';
      return;
    case 'r':
      out += '\r';
      return;
    case 't':
      out += '\t';
      return;
    case 'u':
      break;
    default:
      fail("an escape that JSON does not have");
  }
  char32_t unit = read_hex4();
  if (unit >= 0xdc00 && unit <= 0xdfff) fail("half of a surrogate pair");
  if (unit >= 0xd800 && unit <= 0xdbff) {
    if (text_.substr(at_, 2) != "\\u") fail("half of a surrogate pair");
    at_ += 2;
    const char32_t low = read_hex4();
    if (low < 0xdc00 || low > 0xdfff) fail("half of a surrogate pair");
    unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
  }
  append_utf8(unit, out);
}

void JsonReader::read_string(std::string& out) {
  expect('"');
  out.clear();
  while (true) {
    const size_t start = at_;
    while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
           static_cast<unsigned char>(text_[at_]) >= 0x20)
      ++at_;
    out.append(text_.substr(start, at_ - start));
    if (at_ >= text_.size()) fail("the JSON ends inside a string");
    const char c = text_[at_++];
    if (c == '"') return;
    if (c != '\\') fail("a control character inside a string");
    read_escape(out);
  }
}

std::string_view JsonReader::number_text() {
  peek_char();
  const size_t start = at_;
  while (at_ < text_.size() && (std::string_view("+-.eE").find(text_[at_]) != std::string_view::npos ||
                                (text_[at_] >= '0' && text_[at_] <= '9'))) {
    ++at_;
  }
  return text_.substr(start, at_ - start);
}

int64_t JsonReader::read_int() {
  const std::string_view digits = number_text();
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size())
    fail("\"" + std::string(digits) + "\" is not an integer");
  return value;
}

double JsonReader::read_number() {
  const std::string_view digits = number_text();
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size())
    fail("\"" + std::string(digits) + "\" is not a number");
  return value;
}

bool JsonReader::read_bool() {
  peek_char();
  for (const std::string_view word : {std::string_view("true"), std::string_view("false")}) {
    if (text_.substr(at_, word.size()) == word) {
      at_ += word.size();
      return word == "true";
    }
  }
  fail("true or false is needed here");
}

void JsonReader::read_null() {
  peek_char();
  if (text_.substr(at_, 4) != "null") fail("null is needed here");
  at_ += 4;
}

void JsonReader::skip_string() {
  ++at_;
  while (true) {
    at_ = text_.find_first_of("\"\\", at_);
    if (at_ == std::string_view::npos) {
      at_ = text_.size();
      fail("the JSON ends inside a string");
    }
    if (text_[at_++] == '"') return;
    ++at_;
  }
}

void JsonReader::skip_scalar() {
  switch (peek()) {
    case Kind::string:
      skip_string();
      break;
    case Kind::number:
      read_number();
      break;
    case Kind::boolean:
      read_bool();
      break;
    case Kind::null:
      read_null();
      break;
    default:
      fail("this is not JSON");
  }
}

// Brackets are matched, commas and colons are not checked: what is skipped is either unknown to us or read again.
std::string_view JsonReader::skip_value() {
  peek_char();
  const size_t start = at_;
  std::string open;
  do {
    const char c = peek_char();
    if (c == '{' || c == '[') {
      if (open.size() >= kMaxDepth) fail("the JSON nests deeper than " + std::to_string(kMaxDepth));
      open += c;
      ++at_;
    } else if (c == '}' || c == ']') {
      if (open.empty() || open.back() != (c == '}' ? '{' : '[')) fail("a bracket without its partner");
      open.pop_back();
      ++at_;
    } else if ((c == ',' || c == ':') && !open.empty()) {
      ++at_;
    } else {
      skip_scalar();
    }
  } while (!open.empty());
  fresh_ = false;
  return text_.substr(start, at_ - start);
}

void JsonReader::expect_end() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
    ++at_;
  if (at_ != text_.size()) fail("something follows the end of the JSON");
}

}  // namespace plimsoll::tokenizer
