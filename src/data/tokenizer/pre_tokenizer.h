// Splitting normalized text into the pieces that the model takes one by one. A chain of steps; pieces stream through it
// and none are stored.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/files/json_fields.h"
#include "data/tokenizer/regex.h"

namespace plimsoll::tokenizer {

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

struct PreTokenizerStep {
  enum class Kind { split, byte_level, metaspace, digits, punctuation, whitespace, delimiter };
  Kind kind;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;                      // split: pieces between matches are the matches
  std::shared_ptr<const Regex> regex = {};  // split; byte_level with use_regex
  bool prefix_space = false;                // byte_level
  bool prefix_always = false, prefix_first = false, split_words = true;  // metaspace
  std::string replacement = {};                                          // metaspace
  char32_t delimiter = 0;                                                // delimiter
};

struct PreTokenizer {
  std::vector<PreTokenizerStep> steps;
  // The last step is byte_level: pieces reach the model as raw bytes, each of which stands for its printable character.
  bool bytes_out = false;
};

// `section` may be null. Throws a caller Error for kinds that no causal language model uses.
PreTokenizer parse_pre_tokenizer(const JsonSection& section);
// One Split(regex, isolated) after another, then byte level without a regex of its own, as GGUF files mean it.
PreTokenizer make_byte_level_splits(const std::vector<std::string>& regexes, std::string_view source);

class PieceSink {
 public:
  virtual void piece(std::string_view text) = 0;  // never empty

 protected:
  ~PieceSink() = default;
};

struct PreTokenizerScratch {
  std::vector<std::string> buffers;  // one a step that changes the text
};

// `at_start`: text begins where the whole input begins (metaspace "first").
void pre_tokenize(const PreTokenizer& pre_tokenizer, std::string_view text, bool at_start, PreTokenizerScratch& scratch,
                  RegexScratch& regex, PieceSink& sink);

}  // namespace plimsoll::tokenizer
