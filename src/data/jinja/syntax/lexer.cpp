#include "data/jinja/syntax/lexer.h"

#include <algorithm>
#include <charconv>

#include "data/jinja/unicode.h"

namespace plimsoll::jinja {
namespace {

// All line ends become \n, and one at the very end is dropped.
std::string normalize_newlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      out += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool is_digit_char(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)) {
    if (!source_.empty() && source_.back() == '\n') source_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) read_root();
    push(TokenKind::end);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw SyntaxFailure(line_, message); }

  void push(TokenKind kind, std::string text = {}) {
    Token token;
    token.kind = kind;
    token.line = line_;
    token.text = std::move(text);
    tokens_.push_back(std::move(token));
  }

  // Moves to `position`, counting lines, and remembers whether what was just read ended a line.
  void advance(size_t position) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                         source_.begin() + static_cast<ptrdiff_t>(position), '\n'));
    if (position > at_) line_starting_ = source_[position - 1] == '\n';
    at_ = position;
  }

  size_t skip_space(size_t position) const {
    while (position < source_.size()) {
      size_t next = position;
      if (!is_space(next_code_point(source_, next))) break;
      position = next;
    }
    return position;
  }

  bool matches(size_t position, std::string_view text) const {
    return source_.compare(position, text.size(), text) == 0;
  }

  // Text in front of a tag whose sign is `sign` (0: none), with blanks stripped by the rules. Pushes it as data.
  void push_data(size_t end, char sign, bool tag_strips) {
    std::string_view text = std::string_view(source_).substr(at_, end - at_);
    if (sign == '-') {
      text = strip(text, false, true);
    } else if (sign != '+' && tag_strips) {
      const size_t newline = text.rfind('\n');
      const size_t line_start = newline == std::string_view::npos ? 0 : newline + 1;
      if ((line_start > 0 || line_starting_) && strip(text.substr(line_start), true, false).empty()) {
        text = text.substr(0, line_start);
      }
    }
    if (!text.empty()) push(TokenKind::data, std::string(text));
    advance(end);
  }

  // A closing tag `close` at `position`: "-%}" eats the blanks behind, "%}" one newline, "+%}" nothing. 0: not there.
  size_t match_close(size_t position, std::string_view close, bool trims, bool plus) const {
    if (matches(position, close)) {
      const size_t end = position + close.size();
      return trims && end < source_.size() && source_[end] == '\n' ? end + 1 : end;
    }
    if (position < source_.size() && matches(position + 1, close)) {
      if (source_[position] == '-') return skip_space(position + 1 + close.size());
      if (plus && source_[position] == '+') return position + 1 + close.size();
    }
    return 0;
  }

  void read_root() {
    size_t tag = at_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        push(TokenKind::data, source_.substr(at_));
        advance(source_.size());
        return;
      }
      const char c = source_[tag + 1];
      if (c == '{' || c == '%' || c == '#') break;
      ++tag;
    }
    const char type = source_[tag + 1];
    size_t inside = tag + 2;
    char sign = 0;
    if (inside < source_.size() && (source_[inside] == '-' || source_[inside] == '+')) sign = source_[inside++];
    push_data(tag, sign, type != '{');
    if (type == '#') {
      read_comment(inside);
    } else if (type == '%' && read_raw(inside)) {
      return;
    } else {
      read_tag(inside, type == '%');
    }
  }

  void read_comment(size_t inside) {
    const size_t close = source_.find("#}", inside);
    if (close == std::string::npos) fail("Missing end of comment tag");
    size_t start = close;
    if (close > inside && (source_[close - 1] == '-' || source_[close - 1] == '+')) --start;
    advance(match_close(start, "#}", true, true));
  }

  // {% raw %}…{% endraw %}; false when the tag is another one.
  bool read_raw(size_t inside) {
    size_t position = skip_space(inside);
    if (!matches(position, "raw")) return false;
    position = skip_space(position + 3);
    const size_t begin = match_close(position, "%}", false, false);
    if (begin == 0) return false;
    advance(begin);
    for (size_t tag = source_.find("{%", at_); tag != std::string::npos; tag = source_.find("{%", tag + 1)) {
      size_t name = tag + 2;
      char sign = 0;
      if (name < source_.size() && (source_[name] == '-' || source_[name] == '+')) sign = source_[name++];
      name = skip_space(name);
      if (!matches(name, "endraw")) continue;
      const size_t close = match_close(skip_space(name + 6), "%}", true, true);
      if (close == 0) continue;
      push_data(tag, sign, true);
      advance(close);
      return true;
    }
    fail("Missing end of raw directive");
  }

  void read_tag(size_t inside, bool block) {
    push(block ? TokenKind::block_begin : TokenKind::variable_begin);
    advance(inside);
    brackets_.clear();
    while (at_ < source_.size()) {
      if (brackets_.empty()) {
        const size_t close = match_close(at_, block ? "%}" : "}}", block, block);
        if (close != 0) {
          push(block ? TokenKind::block_end : TokenKind::variable_end);
          advance(close);
          return;
        }
      }
      read_token();
    }
    // The parser says what was expected instead.
  }

  void read_token() {
    const size_t after_space = skip_space(at_);
    if (after_space > at_) {
      advance(after_space);
      return;
    }
    const char c = source_[at_];
    if (is_digit_char(c)) {
      read_number();
    } else if (c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80) {
      read_name();
    } else if (c == '"' || c == '\'') {
      read_string(c);
    } else {
      read_operator();
    }
  }

  void read_name() {
    size_t end = at_;
    while (end < source_.size()) {
      const char c = source_[end];
      if (!(c == '_' || is_digit_char(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            static_cast<unsigned char>(c) >= 0x80)) {
        break;
      }
      size_t next = end;
      if (is_space(next_code_point(source_, next))) break;
      end = next;
    }
    push(TokenKind::name, source_.substr(at_, end - at_));
    advance(end);
  }

  // Digits with single underscores between them, from `position`; its end.
  size_t skip_digits(size_t position) const {
    while (position < source_.size() &&
           (is_digit_char(source_[position]) ||
            (source_[position] == '_' && position + 1 < source_.size() && is_digit_char(source_[position + 1])))) {
      ++position;
    }
    return position;
  }

  void read_number() {
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    const size_t whole = skip_digits(at_);
    size_t end = whole;
    if (!after_dot) {
      if (end + 1 < source_.size() && source_[end] == '.' && is_digit_char(source_[end + 1]))
        end = skip_digits(end + 1);
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        size_t exponent = end + 1;
        if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
        if (exponent < source_.size() && is_digit_char(source_[exponent])) end = skip_digits(exponent);
      }
    }
    if (end > whole) {
      read_real(end);
    } else {
      read_integer();
    }
  }

  void read_real(size_t end) {
    std::string text = source_.substr(at_, end - at_);
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    Token token;
    token.kind = TokenKind::real;
    token.line = line_;
    const auto [last, error] = std::from_chars(text.data(), text.data() + text.size(), token.real);
    if (error != std::errc()) fail("the number " + text.substr(0, 40) + " is out of range");
    tokens_.push_back(token);
    advance(end);
  }

  void read_integer() {
    int base = 10;
    size_t end = at_;
    if (source_[at_] == '0') {
      const char c = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : '\0';
      base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
      if (base != 10) end += 2;
    }
    const bool zero = base == 10 && source_[at_] == '0';
    Token token;
    token.kind = TokenKind::integer;
    token.line = line_;
    bool any = false;
    for (; end < source_.size(); ++end) {
      char c = source_[end];
      if (c == '_' && end + 1 < source_.size()) c = source_[++end];
      const int digit = is_digit_char(c)                         ? c - '0'
                        : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                                 : 99;
      if (digit >= base || (zero && digit != 0)) break;
      if (__builtin_mul_overflow(token.integer, static_cast<Int>(base), &token.integer) ||
          __builtin_add_overflow(token.integer, static_cast<Int>(digit), &token.integer)) {
        fail("an integer has more than 128 bits");
      }
      any = true;
    }
    if (!any) fail("invalid number");
    tokens_.push_back(token);
    advance(end);
  }

  void read_string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size())
      fail(std::string("unexpected char ") + (quote == '"' ? "'\"'" : "\"'\"") + ": the string does not end");
    push(TokenKind::string, unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1)));
    advance(end + 1);
  }

  // The escapes of a Python string literal.
  std::string unescape(std::string_view text) const {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 >= text.size()) {
        out += text[i];
        continue;
      }
      const char c = text[++i];
      switch (c) {
        case '\n':
          break;
        case '\\':
        case '\'':
        case '"':
          out += c;
          break;
        case 'a':
          out += '\a';
          break;
        case 'b':
          out += '\b';
          break;
        case 'f':
          out += '\f';
          break;
        case 'n':
          out += '\n';
          break;
        case 'r':
          out += '\r';
          break;
        case 't':
          out += '\t';
          break;
        case 'v':
          out += '\v';
          break;
        case 'x':
          append_hex(out, text, i, 2);
          break;
        case 'u':
          append_hex(out, text, i, 4);
          break;
        case 'U':
          append_hex(out, text, i, 8);
          break;
        case 'N':
          fail("\\N{…} escapes are not supported");
        default:
          if (c >= '0' && c <= '7') {
            char32_t value = 0;
            size_t used = 0;
            while (used < 3 && i + used < text.size() && text[i + used] >= '0' && text[i + used] <= '7') {
              value = value * 8 + static_cast<char32_t>(text[i + used++] - '0');
            }
            i += used - 1;
            append_code_point(out, value);
          } else {
            out += '\\';
            out += c;
          }
      }
    }
    return out;
  }

  void append_hex(std::string& out, std::string_view text, size_t& i, size_t digits) const {
    uint32_t value = 0;
    const std::string_view hex = text.substr(i + 1, digits);
    const auto [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
    if (hex.size() != digits || error != std::errc() || end != hex.data() + digits)
      fail("truncated \\x, \\u or \\U escape");
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) fail("an escape names no Unicode character");
    append_code_point(out, value);
    i += digits;
  }

  void read_operator() {
    static constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    static constexpr std::string_view kOne = "+-/*%~[](){}><=.:|,;";
    std::string text;
    for (const std::string_view op : kTwo) {
      if (matches(at_, op)) text = op;
    }
    if (text.empty()) {
      if (kOne.find(source_[at_]) == std::string_view::npos) {
        fail(std::string("unexpected char '") + source_[at_] + "'");
      }
      text = source_[at_];
    }
    const char c = text[0];
    if (c == '(' || c == '[' || c == '{') {
      brackets_ += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (brackets_.empty()) fail("unexpected '" + text + "'");
      if (brackets_.back() != c) fail("unexpected '" + text + "', expected '" + brackets_.back() + "'");
      brackets_.pop_back();
    }
    push(TokenKind::op, text);
    advance(at_ + text.size());
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::string brackets_;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace plimsoll::jinja
