#include "data/jinja/format_number.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "data/jinja/unicode.h"

namespace plimsoll::jinja {
namespace {

std::string group_digits(const std::string& number, char group, size_t every) {
  const size_t whole = std::min(number.find_first_not_of("0123456789abcdefABCDEF"), number.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % every == 0) out += group;
    out += number[i];
  }
  return out + number.substr(whole);
}

std::string real_digits(double value, const FormatSpec& spec) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return "inf";
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  switch (spec.type) {
    case 'e':
      return fmt::format("{:.{}e}", value, precision);
    case 'E':
      return fmt::format("{:.{}E}", value, precision);
    case 'g':
      return fmt::format("{:.{}g}", value, std::max(precision, 1));
    case 'G':
      return fmt::format("{:.{}G}", value, std::max(precision, 1));
    case '%':
      return fmt::format("{:.{}f}%", value * 100, precision);
    case 0: {
      if (spec.precision < 0) return real_text(value);
      const std::string text = fmt::format("{:.{}g}", value, std::max(precision, 1));
      return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
    }
    default:
      return fmt::format("{:.{}f}", value, precision);
  }
}

}  // namespace

std::string pad_to_width(const std::string& sign, const std::string& body, const FormatSpec& spec, char default_align) {
  const char align = spec.align != 0 ? spec.align : spec.zero ? '=' : default_align;
  const std::string fill = spec.align == 0 && spec.zero ? "0" : spec.fill;
  const int64_t missing = spec.width - count_code_points(sign) - count_code_points(body);
  if (missing <= 0) return sign + body;
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string before, after;
  for (int64_t i = 0; i < left; ++i) before += fill;
  for (int64_t i = left; i < missing; ++i) after += fill;
  return align == '=' ? sign + before + body : before + sign + body + after;
}

std::string format_number(const Value& value, const FormatSpec& spec) {
  const bool integral =
      value.is_integer() && (spec.type == 0 || std::string_view("bcdoxXn").find(spec.type) != std::string_view::npos);
  std::string body, prefix;
  bool negative = false;
  if (integral) {
    const Int number = value.as_integer();
    if (spec.type == 'c') {
      if (number < 0 || number > 0x10FFFF || (number >= 0xD800 && number < 0xE000))
        throw Failure("%c arg not in range(0x110000)");
      append_code_point(body, static_cast<char32_t>(number));
      return pad_to_width({}, body, spec, '<');
    }
    negative = number < 0;
    const auto magnitude = negative ? -static_cast<unsigned __int128>(number) : static_cast<unsigned __int128>(number);
    const unsigned base = spec.type == 'x' || spec.type == 'X' ? 16 : spec.type == 'o' ? 8 : spec.type == 'b' ? 2 : 10;
    body = digits_in_base(magnitude, base, spec.type == 'X');
    if (spec.alternate && base != 10) prefix = std::string("0") + spec.type;
    if (spec.precision > static_cast<int>(body.size()))
      body.insert(0, static_cast<size_t>(spec.precision) - body.size(), '0');
    if (spec.group != 0) body = group_digits(body, spec.group, base == 10 ? 3 : 4);
  } else {
    const double number = value.as_real();
    negative = std::signbit(number) && !std::isnan(number);
    body = real_digits(std::fabs(number), spec);
    if (spec.group != 0) body = group_digits(body, spec.group, 3);
  }
  const std::string sign = negative ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
  return pad_to_width(sign + prefix, body, spec, '>');
}

std::string cut_to_precision(const std::string& text, int precision) {
  return precision < 0 ? text : text.substr(0, byte_offset(text, precision));
}

}  // namespace plimsoll::jinja
