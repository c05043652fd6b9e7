// What is done to text before it is split: Unicode forms, replacements, prefixes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/charsmap.h"
#include "data/tokenizer/files/json_fields.h"
#include "data/tokenizer/regex.h"

namespace plimsoll::tokenizer {

struct NormalizerStep {
  enum class Kind { nfc, nfd, nfkc, nfkd, lowercase, strip, strip_accents, prepend, replace, byte_level, precompiled };
  Kind kind;
  std::string text = {};                          // prepend: the prefix; replace: the content
  std::shared_ptr<const Regex> regex = {};        // replace
  std::string literal = {};                       // replace: the pattern where it is one plain string, else empty
  bool left = false, right = false;               // strip
  std::shared_ptr<const Charsmap> charsmap = {};  // precompiled
};

using Normalizer = std::vector<NormalizerStep>;

// `section` may be null (no normalizer). Throws a caller Error for kinds that no causal language model uses.
Normalizer parse_normalizer(const JsonSection& section);

struct NormalizerScratch {
  std::string front, back;
};

// The result lies in `scratch` or is `text` itself; it holds until the next call. Linear in the text, but for sorting
// runs of combining marks.
std::string_view normalize(const Normalizer& normalizer, std::string_view text, NormalizerScratch& scratch,
                           RegexScratch& regex);

}  // namespace plimsoll::tokenizer
