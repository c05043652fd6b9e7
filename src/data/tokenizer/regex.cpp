#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/tokenizer/regex.h"

#include <pcre2.h>

#include <new>

#include "base/error.h"

namespace plimsoll::tokenizer {

struct RegexScratch::State {
  pcre2_match_data* match = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;  // made when a pattern first needs more than the machine stack's 32 KiB
};

RegexScratch::RegexScratch() : state_(std::make_unique<State>()) {
  state_->match = pcre2_match_data_create(1, nullptr);
  state_->context = pcre2_match_context_create(nullptr);
  if (state_->match == nullptr || state_->context == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(state_->context, Regex::kMatchLimit);
  pcre2_set_heap_limit(state_->context, 16 * 1024);  // KiB, where there is no JIT
}

RegexScratch::~RegexScratch() {
  pcre2_match_data_free(state_->match);
  pcre2_match_context_free(state_->context);
  pcre2_jit_stack_free(state_->stack);
}

struct Regex::Code {
  pcre2_code* code = nullptr;
  bool jit = false;
  std::string shown, source;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(std::string_view pattern, std::string_view source) {
  if (pattern.size() > kMaxPatternBytes) {
    throw caller_error(std::string(source), "a splitting pattern has " + std::to_string(pattern.size()) + " bytes",
                       "the limit is " + std::to_string(kMaxPatternBytes));
  }
  compile(to_pcre_pattern(pattern, source), pattern, source);
}

Regex Regex::literal(std::string_view text, std::string_view source) {
  if (text.size() > kMaxPatternBytes) {
    throw caller_error(std::string(source), "a literal pattern has " + std::to_string(text.size()) + " bytes",
                       "the limit is " + std::to_string(kMaxPatternBytes));
  }
  std::string quoted;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain =
        byte >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == ' ';
    if (c == '\0') {
      quoted += "\\x{0}";
      continue;
    }
    if (!plain) quoted += '\\';
    quoted += c;
  }
  Regex regex;
  regex.compile(quoted, text, source);
  return regex;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

void Regex::compile(const std::string& pcre_pattern, std::string_view shown, std::string_view source) {
  code_ = std::make_unique<Code>();
  code_->shown = shown.substr(0, 200);
  code_->source = source;
  int error = 0;
  PCRE2_SIZE where = 0;
  code_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pcre_pattern.data()), pcre_pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &where, nullptr);
  if (code_->code == nullptr) {
    PCRE2_UCHAR words[256] = {};
    pcre2_get_error_message(error, words, sizeof words);
    throw caller_error(std::string(source),
                       "the splitting pattern \"" + code_->shown + "\": " + reinterpret_cast<const char*>(words),
                       "use a tokenizer with a valid pattern");
  }
  // Without JIT (a kernel may forbid writable code) matching is slower and gives the same.
  code_->jit = pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE) == 0;
}

bool Regex::search(std::string_view text, size_t from, RegexScratch& scratch, size_t& begin, size_t& end) const {
  RegexScratch::State& state = *scratch.state_;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto run = [&] {
    return code_->jit
               ? pcre2_jit_match(code_->code, subject, text.size(), from, 0, state.match, state.context)
               : pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, state.match, state.context);
  };
  int found = run();
  if (found == PCRE2_ERROR_JIT_STACKLIMIT && state.stack == nullptr) {
    state.stack = pcre2_jit_stack_create(32 * 1024, RegexScratch::kMaxJitStackBytes, nullptr);
    if (state.stack == nullptr) throw std::bad_alloc();
    pcre2_jit_stack_assign(state.context, nullptr, state.stack);
    found = run();
  }
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0) {
    throw caller_error(code_->source,
                       "the splitting pattern \"" + code_->shown + "\" takes too many steps on this text",
                       "split the text into shorter documents, or use a tokenizer with a simpler pattern");
  }
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(state.match);
  begin = offsets[0];
  end = offsets[1];
  if (begin < from || end < begin) {  // \K or a look-behind that reports a match that runs backwards
    throw caller_error(code_->source, "the splitting pattern \"" + code_->shown + "\" matches backwards",
                       "use a tokenizer with a simpler pattern");
  }
  return true;
}

}  // namespace plimsoll::tokenizer
