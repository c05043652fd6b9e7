#include "data/tokenizer/charsmap.h"

#include <utf8proc.h>

#include <cstring>

#include "base/error.h"
#include "data/tokenizer/unicode.h"

namespace plimsoll::tokenizer {
namespace {

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

std::optional<std::string> decode_base64(std::string_view text) {
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() * 3 / 4);
  uint32_t bits = 0;
  int have = 0;
  for (const char c : text) {
    const int value = base64_value(c);
    if (value < 0) return std::nullopt;
    bits = (bits << 6) | static_cast<uint32_t>(value);
    have += 6;
    if (have >= 8) out += static_cast<char>((bits >> (have -= 8)) & 0xff);
  }
  return out;
}

// Darts-clone's unit: 8 bits of label (and the sign bit of a value), a leaf flag, and an offset of 22 bits with a
// shift.
bool has_leaf(uint32_t unit) { return ((unit >> 8) & 1) != 0; }
uint32_t label_of(uint32_t unit) { return unit & 0x800000ff; }
size_t offset_of(uint32_t unit) { return static_cast<size_t>(unit >> 10) << ((unit & (1u << 9)) >> 6); }

}  // namespace

Charsmap::Charsmap(std::string_view base64, std::string_view source) {
  const auto bad = [&](const char* problem) {
    return caller_error(std::string(source), std::string("precompiled_charsmap ") + problem,
                        "export the tokenizer again");
  };
  const std::optional<std::string> bytes = decode_base64(base64);
  if (!bytes) throw bad("is not base64");
  uint32_t trie_bytes = 0;
  if (bytes->size() < 4) throw bad("is too short");
  std::memcpy(&trie_bytes, bytes->data(), 4);
  if (trie_bytes % 4 != 0 || trie_bytes == 0 || trie_bytes > bytes->size() - 4)
    throw bad("has a trie larger than itself");
  units_.resize(trie_bytes / 4);
  std::memcpy(units_.data(), bytes->data() + 4, trie_bytes);
  strings_ = bytes->substr(4 + trie_bytes);
  if (valid_utf8_prefix(strings_) != strings_.size()) throw bad("has strings that are not UTF-8");
}

// The shortest prefix of `chunk` with an entry decides, as in the tokenizers library.
std::optional<std::string_view> Charsmap::replacement(std::string_view chunk) const {
  size_t node = offset_of(units_[0]);
  for (const char c : chunk) {
    if (c == '\0') break;
    node ^= static_cast<unsigned char>(c);
    if (node >= units_.size() || label_of(units_[node]) != static_cast<unsigned char>(c)) return std::nullopt;
    const bool leaf = has_leaf(units_[node]);
    node ^= offset_of(units_[node]);
    if (!leaf) continue;
    if (node >= units_.size()) return std::nullopt;
    const size_t begin = units_[node] & 0x7fffffff;
    if (begin > strings_.size() ||
        (begin < strings_.size() && (static_cast<unsigned char>(strings_[begin]) & 0xc0) == 0x80))
      return std::nullopt;
    const size_t end = std::min(strings_.find('\0', begin), strings_.size());
    return std::string_view(strings_).substr(begin, end - begin);
  }
  return std::nullopt;
}

void Charsmap::apply(std::string_view text, std::string& out) const {
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    utf8proc_int32_t state = 0;
    auto left = static_cast<utf8proc_int32_t>(next_char(text, end));
    while (end < text.size()) {
      size_t after = end;
      const auto right = static_cast<utf8proc_int32_t>(next_char(text, after));
      if (utf8proc_grapheme_break_stateful(left, right, &state)) break;
      left = right;
      end = after;
    }
    const std::string_view grapheme = text.substr(begin, end - begin);
    begin = end;
    if (grapheme.size() < 6) {
      if (const auto whole = replacement(grapheme)) {
        out += *whole;
        continue;
      }
    }
    for (size_t at = 0; at < grapheme.size();) {
      const std::string_view one = grapheme.substr(at, utf8_length(grapheme[at]));
      out += replacement(one).value_or(one);
      at += one.size();
    }
  }
}

}  // namespace plimsoll::tokenizer
