// UTF-8 text seen as Python sees a str: by code points. All input must be valid UTF-8 (base/text.h: is_valid_utf8).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll::jinja {

bool is_ascii(std::string_view text);

// The code point at `position`, which moves behind it.
char32_t next_code_point(std::string_view text, size_t& position);
void append_code_point(std::string& text, char32_t code_point);
int64_t count_code_points(std::string_view text);
size_t byte_offset(std::string_view text, int64_t code_point_index);  // of that code point; the end when past it
std::u32string to_code_points(std::string_view text);
std::string to_utf8(std::u32string_view text);

// As Python's str methods of these names (Unicode 15 tables; full upper-case mappings for ß and the Latin ligatures).
bool is_space(char32_t code_point);
bool is_line_break(char32_t code_point);
bool is_cased(char32_t code_point);
bool is_upper(char32_t code_point);
bool is_lower(char32_t code_point);
bool is_alpha(char32_t code_point);
bool is_decimal(char32_t code_point);
bool is_digit(char32_t code_point);
bool is_numeric(char32_t code_point);
bool is_printable(char32_t code_point);
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_title(std::string_view text);  // str.title
std::string to_capitalized(std::string_view text);
std::string to_swapped_case(std::string_view text);

std::string_view strip(std::string_view text, bool left, bool right);
// Strips any of the code points in `characters`.
std::string_view strip(std::string_view text, std::string_view characters, bool left, bool right);

}  // namespace plimsoll::jinja
