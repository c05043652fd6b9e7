// Small helpers for text that people type and read.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace plimsoll {

// The whole text as a number, nothing before or after it; empty when it is not one or does not fit. Numbers are finite.
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);

// "1,234,567", whatever the locale.
std::string format_thousands(int64_t value);

// "3:10", "1:02:09": minutes and seconds, hours when there are any. Negative or not finite: "?".
std::string format_duration(double seconds);

// Edits from one to the other: insert, delete, replace, swap of neighbours (optimal string alignment). Case and the
// difference between - and _ count for nothing. Time and memory grow with the product of the lengths.
size_t edit_distance(std::string_view a, std::string_view b);

// The candidate with the fewest edits from `name`, when it is near enough to be what was meant; empty otherwise.
std::string_view nearest_name(std::string_view name, std::span<const std::string_view> candidates);

bool is_valid_utf8(std::string_view text);  // no surrogates, no overlong forms, at most U+10FFFF

// `text` on one line: control characters and bytes that are not UTF-8 as \n, \t or \xNN, cut after `limit` bytes.
std::string one_line(std::string_view text, size_t limit = 400);

}  // namespace plimsoll
