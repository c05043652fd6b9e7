// Template text → tokens, with the white-space rules of Jinja 3.1 under trim_blocks and lstrip_blocks (as transformers
// sets them): the newline behind a block tag is dropped, and so are the blanks before one that starts a line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/jinja/value.h"

namespace plimsoll::jinja {

enum class TokenKind : uint8_t {
  data,
  block_begin,
  block_end,
  variable_begin,
  variable_end,
  name,
  string,
  integer,
  real,
  op,
  end
};

struct Token {
  TokenKind kind = TokenKind::end;
  int line = 1;
  std::string text;  // of data, name, string; the operator itself for op
  Int integer = 0;
  double real = 0;
};

// A Failure that knows its line: a template that cannot be read.
class SyntaxFailure : public Failure {
 public:
  SyntaxFailure(int at_line, const std::string& message) : Failure(message), line(at_line) {}
  int line;
};

// `source` must be valid UTF-8. Throws SyntaxFailure. The last token is `end`.
std::vector<Token> tokenize(std::string_view source);

}  // namespace plimsoll::jinja
