// Tokens that are looked for in the text itself, before the model sees it: control tokens and user-defined ones.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/trie.h"
#include "data/tokenizer/unicode.h"

namespace plimsoll::tokenizer {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;      // left out by decode with skip_special
  bool lstrip = false;       // takes the whitespace before it
  bool rstrip = false;       // takes the whitespace after it
  bool single_word = false;  // not inside a word
  bool normalized = false;   // looked for in the normalized text, in normalized form
  std::string decoded = {};  // that form, where it is another one: decode gives it, as the tokenizers library does
};

class AddedTokens {
 public:
  static constexpr size_t kMaxBytes = 4096;  // of one added token

  AddedTokens() = default;
  // `normalized_contents[i]` is the normalized form of token i (read only where token i is `normalized`).
  AddedTokens(std::vector<AddedToken> tokens, const std::vector<std::string>& normalized_contents,
              std::string_view source);

  const AddedToken* find(std::string_view content) const;
  const AddedToken* find(int32_t id) const;
  // The text that `token` is decoded to; empty where it is special and left out: that goes by the text, too, so a
  // special token of another normalized form stays.
  std::string_view decoded_text(const AddedToken& token, bool skip_special) const;
  const std::vector<AddedToken>& tokens() const { return tokens_; }
  int32_t end_id() const { return end_id_; }
  int64_t resident_bytes() const;

  // Calls piece(begin, end, token) over `text`, leftmost-longest; token is nullptr for text between tokens.
  // `special_as_text`: special tokens found count as text.
  template <typename Piece>
  void split(std::string_view text, bool normalized, bool special_as_text, Piece&& piece) const {
    const Trie& trie = normalized ? normalized_ : raw_;
    if (trie.empty()) {
      if (!text.empty()) piece(size_t{0}, text.size(), nullptr);
      return;
    }
    size_t done = 0, space_end = 0;
    for (size_t at = 0; at < text.size();) {
      size_t length = 0;
      int32_t index = -1;
      if (trie.starts_with_any(text[at])) {
        trie.prefixes(text.substr(at), [&](size_t n, int32_t value) { length = n, index = value; });
      }
      if (index < 0) {
        ++at;
        continue;
      }
      size_t begin = at, end = at + length;
      at = end;
      const AddedToken& token = tokens_[static_cast<size_t>(index)];
      if (special_as_text && token.special) continue;
      if (token.single_word && inside_word(text, begin, end)) continue;
      if (token.lstrip) begin = done < begin ? whitespace_start(text, done, begin) : done;
      if (token.rstrip) end = space_end = end < space_end ? space_end : whitespace_end(text, end);
      if (begin >= end) continue;  // the token before took it as whitespace
      if (done < begin) piece(done, begin, nullptr);
      piece(begin, end, &token);
      done = end;
    }
    if (done < text.size()) piece(done, text.size(), nullptr);
  }

 private:
  static bool inside_word(std::string_view text, size_t begin, size_t end);
  static size_t whitespace_start(std::string_view text, size_t from,
                                 size_t end);  // of the whitespace that ends at `end`
  static size_t whitespace_end(std::string_view text, size_t begin);

  std::vector<AddedToken> tokens_;  // sorted by id
  std::vector<int32_t> by_content_;
  Trie raw_, normalized_;
  int32_t end_id_ = 0;
};

}  // namespace plimsoll::tokenizer
