// Token texts back to text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/tokenizer/files/json_fields.h"
#include "data/tokenizer/regex.h"

namespace plimsoll::tokenizer {

struct DecoderStep {
  enum class Kind { byte_level, byte_fallback, fuse, strip, replace, metaspace, bpe_suffix };
  Kind kind;
  std::string text = {};  // replace: content; strip: the character; metaspace: the replacement; bpe_suffix
  std::shared_ptr<const Regex> regex = {};  // replace
  int64_t start = 0, stop = 0;              // strip: characters at most
  bool drop_first = false;                  // metaspace: the first token's replacements are dropped, not spaces
};

struct Decoder {
  std::vector<DecoderStep> steps;
  bool present = false;  // without a decoder tokens are joined by spaces, as the tokenizers library does
};

Decoder parse_decoder(const JsonSection& section);  // `section` may be null

// Consumes the tokens. The result is valid UTF-8: bytes that are not become U+FFFD.
std::string decode_tokens(const Decoder& decoder, std::vector<std::string> tokens);

}  // namespace plimsoll::tokenizer
