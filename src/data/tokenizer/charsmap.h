// SentencePiece's precompiled character map: a Darts-clone double array from byte prefixes to replacement strings
// (https://github.com/google/sentencepiece, src/normalizer.cc; https://github.com/s-yata/darts-clone).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll::tokenizer {

class Charsmap {
 public:
  Charsmap(std::string_view base64, std::string_view source);  // throws a caller Error

  // Rewrites `text` grapheme by grapheme (of fewer than 6 bytes), else character by character, as the tokenizers
  // library does; appends to `out`.
  void apply(std::string_view text, std::string& out) const;

 private:
  std::optional<std::string_view> replacement(std::string_view chunk) const;

  std::vector<uint32_t> units_;
  std::string strings_;  // NUL-terminated, valid UTF-8
};

}  // namespace plimsoll::tokenizer
