#include "data/tokenizer/added_tokens.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace plimsoll::tokenizer {

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const std::vector<std::string>& normalized_contents,
                         std::string_view source) {
  std::vector<int32_t> order(tokens.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return tokens[static_cast<size_t>(a)].id < tokens[static_cast<size_t>(b)].id;
  });
  tokens_.reserve(tokens.size());
  std::vector<std::pair<std::string_view, int32_t>> raw, normalized;
  for (const int32_t from : order) tokens_.push_back(std::move(tokens[static_cast<size_t>(from)]));
  for (size_t i = 0; i < tokens_.size(); ++i) {
    AddedToken& token = tokens_[i];
    const std::string& in_text = token.normalized ? normalized_contents[static_cast<size_t>(order[i])] : token.content;
    if (in_text.size() > kMaxBytes) {
      throw caller_error(std::string(source), "an added token has " + std::to_string(in_text.size()) + " bytes",
                         "the limit is " + std::to_string(kMaxBytes));
    }
    (token.normalized ? normalized : raw).emplace_back(in_text, static_cast<int32_t>(i));
    if (in_text != token.content) token.decoded = in_text;
    end_id_ = std::max(end_id_, token.id + 1);
  }
  raw_ = Trie(std::move(raw), source);
  normalized_ = Trie(std::move(normalized), source);
  by_content_.resize(tokens_.size());
  std::iota(by_content_.begin(), by_content_.end(), 0);
  std::sort(by_content_.begin(), by_content_.end(), [&](int32_t a, int32_t b) {
    return tokens_[static_cast<size_t>(a)].content < tokens_[static_cast<size_t>(b)].content;
  });
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = std::lower_bound(
      by_content_.begin(), by_content_.end(), content,
      [&](int32_t i, std::string_view text) { return tokens_[static_cast<size_t>(i)].content < text; });
  if (found == by_content_.end() || tokens_[static_cast<size_t>(*found)].content != content) return nullptr;
  return &tokens_[static_cast<size_t>(*found)];
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = std::lower_bound(tokens_.begin(), tokens_.end(), id,
                                      [](const AddedToken& token, int32_t value) { return token.id < value; });
  return found == tokens_.end() || found->id != id ? nullptr : &*found;
}

std::string_view AddedTokens::decoded_text(const AddedToken& token, bool skip_special) const {
  const std::string_view text = token.decoded.empty() ? token.content : token.decoded;
  if (!skip_special) return text;
  const AddedToken* named = find(text);
  return named != nullptr && named->special ? std::string_view() : text;
}

bool AddedTokens::inside_word(std::string_view text, size_t begin, size_t end) {
  if (begin > 0) {
    size_t before = previous_char(text, begin);
    if (is_word_character(next_char(text, before))) return true;
  }
  return end < text.size() && is_word_character(next_char(text, end));
}

size_t AddedTokens::whitespace_start(std::string_view text, size_t from, size_t end) {
  while (end > from) {
    const size_t start = previous_char(text, end);
    size_t at = start;
    if (!is_whitespace(next_char(text, at))) break;
    end = start;
  }
  return end;
}

size_t AddedTokens::whitespace_end(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t at = begin;
    if (!is_whitespace(next_char(text, at))) break;
    begin = at;
  }
  return begin;
}

int64_t AddedTokens::resident_bytes() const {
  int64_t bytes =
      raw_.resident_bytes() + normalized_.resident_bytes() + static_cast<int64_t>(4 * by_content_.capacity());
  for (const AddedToken& token : tokens_)
    bytes += static_cast<int64_t>(sizeof token + (token.content.size() > 15 ? token.content.capacity() + 1 : 0) +
                                  (token.decoded.size() > 15 ? token.decoded.capacity() + 1 : 0));
  return bytes;
}

}  // namespace plimsoll::tokenizer
