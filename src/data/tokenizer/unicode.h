// UTF-8 and the character classes that tokenizers ask for. Strings inside the tokenizer are always valid UTF-8;
// to_valid_utf8 makes them so at the door.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace plimsoll::tokenizer {

// Offset of the first byte that is not part of valid UTF-8 (no surrogates, nothing past U+10FFFF, no overlong forms);
// text.size() when all is valid.
size_t valid_utf8_prefix(std::string_view text);

// A copy in which each maximal invalid sequence became U+FFFD (the Unicode standard's recommended practice).
std::string to_valid_utf8(std::string_view text);

// Bytes of the character that starts with `lead` (of valid UTF-8).
inline size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

// The character at text[at], and `at` moved past it. Requires valid UTF-8 and at < text.size().
inline char32_t next_char(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[i])); };
  const char32_t lead = byte(at);
  if (lead < 0x80) {
    at += 1;
    return lead;
  }
  if (lead < 0xe0) {
    at += 2;
    return ((lead & 0x1f) << 6) | (byte(at - 1) & 0x3f);
  }
  if (lead < 0xf0) {
    at += 3;
    return ((lead & 0x0f) << 12) | ((byte(at - 2) & 0x3f) << 6) | (byte(at - 1) & 0x3f);
  }
  at += 4;
  return ((lead & 0x07) << 18) | ((byte(at - 3) & 0x3f) << 12) | ((byte(at - 2) & 0x3f) << 6) | (byte(at - 1) & 0x3f);
}

// Start of the character that ends before `end` (> 0).
inline size_t previous_char(std::string_view text, size_t end) {
  do --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80);
  return end;
}

void append_utf8(char32_t character, std::string& out);

bool is_whitespace(char32_t character);      // Unicode White_Space
bool is_number(char32_t character);          // categories Nd, Nl, No
bool is_punctuation(char32_t character);     // ASCII punctuation and symbols, or categories P*
bool is_word_character(char32_t character);  // Alphabetic (approximated by L and Nl), M, Nd, Pc, joiners: \w
bool is_mark(char32_t character);            // categories Mn, Mc, Me

// GPT-2's printable stand-in for each byte (https://github.com/openai/gpt-2, bytes_to_unicode), and back:
// -1 for a character that stands for no byte.
char32_t byte_to_char(uint8_t byte);
int char_to_byte(char32_t character);
void append_byte_chars(std::string_view bytes, std::string& out);

}  // namespace plimsoll::tokenizer
