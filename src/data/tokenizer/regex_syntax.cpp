// Oniguruma (Ruby syntax, UTF-8) to PCRE2. References: Oniguruma's doc/RE and doc/UNICODE_PROPERTIES, man pcre2pattern.
#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "data/tokenizer/regex.h"

namespace plimsoll::tokenizer {
namespace {

constexpr std::string_view kSpace =
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
constexpr int kMaxClassDepth = 16;

// Long names and POSIX brackets that PCRE2 spells otherwise: members of a class.
constexpr std::array<std::pair<std::string_view, std::string_view>, 46> kProperties = {{
    {"letter", "\\p{L}"},
    {"uppercaseletter", "\\p{Lu}"},
    {"lowercaseletter", "\\p{Ll}"},
    {"titlecaseletter", "\\p{Lt}"},
    {"modifierletter", "\\p{Lm}"},
    {"otherletter", "\\p{Lo}"},
    {"mark", "\\p{M}"},
    {"combiningmark", "\\p{M}"},
    {"nonspacingmark", "\\p{Mn}"},
    {"spacingmark", "\\p{Mc}"},
    {"enclosingmark", "\\p{Me}"},
    {"number", "\\p{N}"},
    {"decimalnumber", "\\p{Nd}"},
    {"letternumber", "\\p{Nl}"},
    {"othernumber", "\\p{No}"},
    {"punctuation", "\\p{P}"},
    {"connectorpunctuation", "\\p{Pc}"},
    {"dashpunctuation", "\\p{Pd}"},
    {"openpunctuation", "\\p{Ps}"},
    {"closepunctuation", "\\p{Pe}"},
    {"initialpunctuation", "\\p{Pi}"},
    {"finalpunctuation", "\\p{Pf}"},
    {"otherpunctuation", "\\p{Po}"},
    {"symbol", "\\p{S}"},
    {"mathsymbol", "\\p{Sm}"},
    {"currencysymbol", "\\p{Sc}"},
    {"modifiersymbol", "\\p{Sk}"},
    {"othersymbol", "\\p{So}"},
    {"separator", "\\p{Z}"},
    {"spaceseparator", "\\p{Zs}"},
    {"lineseparator", "\\p{Zl}"},
    {"paragraphseparator", "\\p{Zp}"},
    {"other", "\\p{C}"},
    {"control", "\\p{Cc}"},
    {"format", "\\p{Cf}"},
    {"alpha", "\\p{Alphabetic}"},
    {"alnum", "\\p{Alphabetic}\\p{Nd}"},
    {"digit", "\\p{Nd}"},
    {"upper", "\\p{Uppercase}"},
    {"lower", "\\p{Lowercase}"},
    {"space", kSpace},
    {"word", kWord},
    {"cntrl", "\\p{Cc}"},
    {"punct", "\\p{P}\\p{S}"},  // as a bracket
    {"xdigit", "0-9A-Fa-f"},
    {"blank", "\\p{Zs}\\t"},
}};

// Members that PCRE2 knows as binary properties; any other long name is a script.
constexpr std::array<std::string_view, 12> kBinary = {
    "alphabetic",           "uppercase",   "lowercase", "whitespace", "emoji", "math", "emojipresentation",
    "extendedpictographic", "ideographic", "any",       "ascii",      "dash"};

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view source) : in_(pattern), source_(source) {}

  std::string run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\') {
        escape();
      } else if (c == '[') {
        out_ += character_class(0);
      } else {
        out_ += c;
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw caller_error(std::string(source_),
                       "the splitting pattern \"" + std::string(in_.substr(0, 200)) + "\" " + problem,
                       "use a tokenizer whose pattern does without it");
  }

  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }

  static std::string plain_name(std::string_view name) {  // lower case, without space, '_' and '-'
    std::string plain;
    for (const char c : name) {
      if (c == ' ' || c == '_' || c == '-') continue;
      plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    }
    return plain;
  }

  // At the '{' of \p{…}. Returns members of a class; `negated` is flipped for \p{^…}.
  std::string property(bool& negated) {
    if (peek() != '{') fail("has \\p without braces");
    const size_t close = in_.find('}', at_);
    if (close == std::string_view::npos) fail("has \\p{ without its }");
    std::string_view name = in_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    if (!name.empty() && name.front() == '^') {
      negated = !negated;
      name.remove_prefix(1);
    }
    const std::string plain = plain_name(name);
    if (plain == "punct") return "\\p{P}";
    for (const auto& [ours, members] : kProperties) {
      if (ours == plain) return std::string(members);
    }
    const bool category = plain.size() <= 2, binary = std::find(kBinary.begin(), kBinary.end(), plain) != kBinary.end();
    return (category || binary ? "\\p{" : "\\p{sc:") + std::string(name) + "}";
  }

  // At a backslash. Fills the members of a class when the escape stands for a set of characters; false otherwise, and
  // then nothing was consumed.
  bool escape_set(std::string& members, bool& negated) {
    const char kind = peek(1);
    negated = kind == 'S' || kind == 'W' || kind == 'D' || kind == 'H' || kind == 'P';
    switch (kind) {
      case 's':
      case 'S':
        members = kSpace;
        break;
      case 'w':
      case 'W':
        members = kWord;
        break;
      case 'd':
      case 'D':
        members = "\\p{Nd}";
        break;
      case 'h':
      case 'H':
        members = "0-9A-Fa-f";
        break;
      case 'p':
      case 'P':
        at_ += 2;
        members = property(negated);
        return true;
      default:
        return false;
    }
    at_ += 2;
    return true;
  }

  // At a backslash that begins no set: a character or an assertion, as PCRE2 writes it.
  std::string escape_plain(bool in_class) {
    const char kind = peek(1);
    if (kind == '\0') fail("ends in a backslash");
    if (kind == 'u') {
      const std::string digits(in_.substr(at_ + 2, 4));
      if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
        fail("has \\u without four digits");
      at_ += 6;
      return "\\x{" + digits + "}";
    }
    if (in_class && kind == 'b') {
      at_ += 2;
      return "\\x08";
    }
    if (kind == 'b' || kind == 'B') {  // PCRE2's know other words
      at_ += 2;
      const std::string word = "[" + std::string(kWord) + "]";
      return kind == 'b' ? "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))"
                         : "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))";
    }
    if (std::string_view("yYXgkKRNOCM").find(kind) != std::string_view::npos) fail(std::string("uses \\") + kind);
    const size_t length =
        static_cast<unsigned char>(kind) < 0x80 ? 2 : 1;  // a backslash before other text says nothing
    const std::string text = length == 2 ? std::string(in_.substr(at_, 2)) : std::string();
    at_ += length;
    return text;
  }

  void escape() {
    std::string members;
    bool negated = false;
    if (escape_set(members, negated)) {
      out_ += (negated ? "[^" : "[") + members + "]";
    } else {
      out_ += escape_plain(false);
    }
  }

  // At '['. One class, as a PCRE2 class or, with intersections, as look-aheads before one.
  std::string character_class(int depth) {
    if (depth > kMaxClassDepth) fail("nests classes too deep");
    ++at_;
    const bool negated = peek() == '^';
    if (negated) ++at_;
    std::string members, ahead;
    bool first = true;
    while (true) {
      if (at_ >= in_.size()) fail("has [ without its ]");
      const char c = in_[at_];
      if (c == ']' && !first) {
        ++at_;
        break;
      }
      first = false;
      if (c == '&' && peek(1) == '&') {
        at_ += 2;
        if (members.empty()) fail("has an intersection without a left side");
        ahead += "(?=[" + members + "])";
        members.clear();
      } else if (c == '[' && peek(1) == ':') {
        const size_t close = in_.find(":]", at_);
        if (close == std::string_view::npos) fail("has [: without its :]");
        std::string_view name = in_.substr(at_ + 2, close - at_ - 2);
        const bool out = !name.empty() && name.front() == '^';
        if (out) fail("has a negated POSIX bracket");
        const auto* known =
            std::find_if(kProperties.begin(), kProperties.end(), [&](const auto& p) { return p.first == name; });
        if (known == kProperties.end()) fail("has an unknown POSIX bracket");
        members += known->second;
        at_ = close + 2;
      } else if (c == '[') {
        const std::string inner = character_class(depth + 1);
        const bool whole_negation = inner.starts_with("[^") && !ahead.empty() && members.empty() && peek() == ']';
        if (whole_negation) {  // [a&&[^b]]
          ++at_;
          return negated ? "(?!" + ahead + inner + ")(?s:.)" : "(?:" + ahead + inner + ")";
        }
        if (inner.front() != '[' || inner.starts_with("[^")) fail("nests a negated class or an intersection");
        members += inner.substr(1, inner.size() - 2);
      } else if (c == '\\') {
        std::string set;
        bool out = false;
        if (escape_set(set, out)) {
          members += out ? negated_members(set) : set;
        } else {
          members += escape_plain(true);
        }
      } else {
        members += c;
        ++at_;
      }
    }
    if (members.empty()) fail("has an empty class");
    if (ahead.empty()) return (negated ? "[^" : "[") + members + "]";
    const std::string both = ahead + "[" + members + "]";
    return negated ? "(?:(?!" + both + ")(?s:.))" : "(?:" + both + ")";
  }

  // \S, \W, \P{…} inside a class. PCRE2 has a negation of one property, and of its own \s where ours differs in U+180E
  // only.
  std::string negated_members(const std::string& set) {
    if (set == kSpace) return "\\S\\x{180e}";
    if (set.starts_with("\\p{") && set.find('}') == set.size() - 1) return "\\P" + set.substr(2);
    if (set == "0-9A-Fa-f") return "\\x{0}-/:-@G-`g-\\x{10ffff}";
    fail("has a negated set inside a class");
  }

  std::string_view in_, source_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string to_pcre_pattern(std::string_view oniguruma, std::string_view source) {
  return Translator(oniguruma, source).run();
}

}  // namespace plimsoll::tokenizer
