// Splitting patterns: the Oniguruma syntax of tokenizer.json, translated to PCRE2 and compiled by its JIT.
//
// What differs between the two and is translated: \s \w \d \h and their negations (Oniguruma's Unicode meanings),
// scripts in \p{…} (PCRE2 would take script extensions), long category names, \uHHHH, ^ and $ at line ends, nested
// classes and class intersections [a&&b]. Unknown constructs are a caller Error at load.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace plimsoll::tokenizer {

// What one thread needs to match. About 1 KB, and up to kMaxJitStackBytes where a pattern needs it.
class RegexScratch {
 public:
  static constexpr size_t kMaxJitStackBytes = size_t{4} << 20;

  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  struct State;
  std::unique_ptr<State> state_;
};

// Immutable; any number of threads may match, each with its own scratch.
class Regex {
 public:
  static constexpr size_t kMaxPatternBytes = 16384;
  static constexpr uint32_t kMatchLimit = 50'000'000;  // backtracking steps of one search

  // Throws a caller Error naming `source` and the pattern.
  Regex(std::string_view pattern, std::string_view source);
  static Regex literal(std::string_view text, std::string_view source);  // matches exactly `text`
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // The first match at or after `from`. Requires valid UTF-8 and `from` at a character. Throws a caller Error when the
  // pattern needs more than kMatchLimit steps or kMaxJitStackBytes.
  bool search(std::string_view text, size_t from, RegexScratch& scratch, size_t& begin, size_t& end) const;

 private:
  Regex() = default;
  void compile(const std::string& pcre_pattern, std::string_view shown, std::string_view source);

  struct Code;
  std::unique_ptr<Code> code_;
};

// Exposed for tests: the PCRE2 form of an Oniguruma pattern.
std::string to_pcre_pattern(std::string_view oniguruma, std::string_view source);

// Calls piece(begin, end, is_match) over consecutive pieces that cover `text`: matches and what lies between them.
// An empty match is a piece of no bytes; it is not repeated at one position nor found right after another match.
template <typename Piece>
void for_each_match(const Regex& regex, std::string_view text, RegexScratch& scratch, Piece&& piece) {
  size_t previous = 0, from = 0, begin = 0, end = 0;
  bool after_match = false;
  while (from <= text.size() && regex.search(text, from, scratch, begin, end)) {
    if (begin == end && after_match && begin == previous) {
      if (begin >= text.size()) break;
      from = begin + 1;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xc0) == 0x80) ++from;
      after_match = false;
      continue;
    }
    if (previous != begin) piece(previous, begin, false);
    piece(begin, end, true);
    previous = from = end;
    after_match = true;
  }
  if (previous != text.size()) piece(previous, text.size(), false);
}

}  // namespace plimsoll::tokenizer
