// A pull parser for tokenizer.json: no tree, no recursion on values that are read element by element, so that a file of
// ten megabytes costs its own bytes and nothing else while it is read.
//
//   reader.begin_object();
//   while (reader.next_key(key)) if (key == "vocab") …; else reader.skip_value();
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace plimsoll::tokenizer {

class JsonReader {
 public:
  static constexpr int kMaxDepth = 64;  // of a skipped value

  enum class Kind { object, array, string, number, boolean, null };

  // `text` must be valid UTF-8 and outlive the reader. `source` names the file in errors. Every method throws a caller
  // Error when the text is not JSON or not the kind of value asked for.
  JsonReader(std::string_view text, std::string_view source) : text_(text), source_(source) {}

  Kind peek();
  void begin_object();
  bool next_key(std::string& key);  // false: the object ended
  void begin_array();
  bool next_element();  // false: the array ended
  void read_string(std::string& out);
  int64_t read_int();  // a fraction, an exponent or more than 64 bits is an error
  double read_number();
  bool read_bool();
  void read_null();
  std::string_view skip_value();  // its text
  void expect_end();

  [[noreturn]] void fail(const std::string& problem) const;

 private:
  char peek_char();
  void expect(char c);
  bool next_item(char close);
  void skip_string();
  void skip_scalar();
  std::string_view number_text();
  uint32_t read_hex4();
  void read_escape(std::string& out);

  std::string_view text_;
  std::string_view source_;
  size_t at_ = 0;
  bool fresh_ = false;  // the innermost object or array has no element yet
};

}  // namespace plimsoll::tokenizer
