// A data file character by character, for parsers that must see every one.
#pragma once

#include <array>
#include <cstdint>

#include "data/files/byte_source.h"

namespace plimsoll {

class CharStream {
 public:
  static constexpr int kEnd = -1;

  explicit CharStream(const std::string& path) : source_(path) {
    for (const int mark : {0xEF, 0xBB, 0xBF}) {  // a byte-order mark
      if (peek() != mark) break;
      ++at_;
    }
  }

  int peek() { return at_ < filled_ || fill() ? static_cast<unsigned char>(buffer_[at_]) : kEnd; }
  int get() {
    const int c = peek();
    if (c != kEnd) ++at_;
    if (c == '\n') ++line_;
    return c;
  }
  void skip_blanks() {
    for (int c = peek(); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek()) get();
  }

  int64_t line() const { return line_; }  // of the next character, from 1
  const ByteSource& source() const { return source_; }

 private:
  bool fill() {
    at_ = 0;
    filled_ = source_.read(buffer_);
    return filled_ > 0;
  }

  ByteSource source_;
  std::array<char, 64 << 10> buffer_;
  size_t at_ = 0, filled_ = 0;
  int64_t line_ = 1;
};

}  // namespace plimsoll
