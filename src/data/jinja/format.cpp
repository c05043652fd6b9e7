// "…" % values and "…".format(…), after Python's "printf-style String Formatting" and "Format Specification
// Mini-Language".
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "data/jinja/methods.h"
#include "data/jinja/operators.h"
#include "data/jinja/unicode.h"

namespace plimsoll::jinja {
namespace {

constexpr int kMaxWidth = 1 << 20;
constexpr int kMaxPrecision = 1 << 10;

struct Spec {
  std::string fill = " ";
  char align = 0;  // < > ^ =
  char sign = '-';
  bool alternate = false, zero = false;
  char group = 0;  // , or _
  int width = 0;
  int precision = -1;
  char type = 0;
};

std::string digits_in_base(unsigned __int128 value, unsigned base, bool upper) {
  if (value == 0) return "0";
  std::string out;
  for (; value != 0; value /= base)
    out += (upper ? "0123456789ABCDEF" : "0123456789abcdef")[static_cast<size_t>(value % base)];
  std::reverse(out.begin(), out.end());
  return out;
}

std::string group_digits(const std::string& number, char group, size_t every) {
  const size_t whole = std::min(number.find_first_not_of("0123456789abcdefABCDEF"), number.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % every == 0) out += group;
    out += number[i];
  }
  return out + number.substr(whole);
}

std::string real_digits(double value, const Spec& spec) {
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

// Number or text into its width. `sign` and `prefix` stand in front of padding zeros.
std::string pad(const std::string& sign, const std::string& body, const Spec& spec, char default_align) {
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

std::string format_number(const Value& value, const Spec& spec) {
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
      return pad({}, body, spec, '<');
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
  return pad(sign + prefix, body, spec, '>');
}

std::string cut(const std::string& text, int precision) {
  return precision < 0 ? text : text.substr(0, byte_offset(text, precision));
}

int read_number(const std::string& format, size_t& at, int limit) {
  int number = 0;
  while (at < format.size() && format[at] >= '0' && format[at] <= '9') {
    number = number * 10 + (format[at++] - '0');
    if (number > limit) throw Failure("a width or precision in a format is too large");
  }
  return number;
}

std::string to_ascii(const std::string& repr) {
  std::string out;
  for (size_t at = 0; at < repr.size();) {
    const auto c = static_cast<uint32_t>(next_code_point(repr, at));
    out += c < 0x80      ? std::string(1, static_cast<char>(c))
           : c <= 0xFF   ? fmt::format("\\x{:02x}", c)
           : c <= 0xFFFF ? fmt::format("\\u{:04x}", c)
                         : fmt::format("\\U{:08x}", c);
  }
  return out;
}

// --- % --------------------------------------------------------------------------------------------------------------

class PercentFormatter {
 public:
  PercentFormatter(const std::string& format, const Value& value) : format_(format), value_(value) {}

  std::string run() {
    std::string out;
    while (at_ < format_.size()) {
      if (format_[at_] != '%') {
        const size_t end = std::min(format_.find('%', at_), format_.size());
        append_checked(out, std::string_view(format_).substr(at_, end - at_));
        at_ = end;
        continue;
      }
      ++at_;
      append_checked(out, conversion());
    }
    const bool all_used = value_.kind() == Kind::tuple ? used_ == value_.items().size()
                                                       : used_ > 0 || mapped_ || value_.is_dict() || value_.is_list();
    if (!all_used) throw Failure("not all arguments converted during string formatting");
    return out;
  }

 private:
  const Value& argument() {
    if (value_.kind() == Kind::tuple) {
      if (used_ >= value_.items().size()) throw Failure("not enough arguments for format string");
      return value_.items()[used_++];
    }
    if (used_++ > 0) throw Failure("not enough arguments for format string");
    return value_;
  }

  int star_or_number(int limit) {
    if (at_ >= format_.size() || format_[at_] != '*') return read_number(format_, at_, limit);
    ++at_;
    const Value& value = argument();
    if (!value.is_integer()) throw Failure("* wants int");
    if (value.as_integer() > limit || value.as_integer() < -limit)
      throw Failure("a width or precision in a format is too large");
    return static_cast<int>(value.as_integer());
  }

  std::string conversion() {
    const Value* mapped = nullptr;
    if (at_ < format_.size() && format_[at_] == '(') {
      const size_t close = format_.find(')', at_);
      if (close == std::string::npos) throw Failure("incomplete format key");
      if (!value_.is_dict()) throw Failure("format requires a mapping");
      const std::string key = format_.substr(at_ + 1, close - at_ - 1);
      mapped = value_.as_dict().find(key);
      if (mapped == nullptr) throw Failure("'" + key + "' is not a key of the mapping");
      mapped_ = true;
      at_ = close + 1;
    }
    Spec spec;
    for (bool more = true; more && at_ < format_.size();) {
      switch (format_[at_]) {
        case '-':
          spec.align = '<';
          break;
        case '+':
          spec.sign = '+';
          break;
        case ' ':
          spec.sign = spec.sign == '+' ? '+' : ' ';
          break;
        case '#':
          spec.alternate = true;
          break;
        case '0':
          spec.zero = true;
          break;
        default:
          more = false;
          continue;
      }
      ++at_;
    }
    spec.width = star_or_number(kMaxWidth);
    if (spec.width < 0) {
      spec.align = '<';
      spec.width = -spec.width;
    }
    if (at_ < format_.size() && format_[at_] == '.') {
      ++at_;
      spec.precision = std::max(0, star_or_number(kMaxPrecision));
    }
    while (at_ < format_.size() && (format_[at_] == 'l' || format_[at_] == 'h' || format_[at_] == 'L')) ++at_;
    if (at_ >= format_.size()) throw Failure("incomplete format");
    spec.type = format_[at_++];
    if (spec.type == '%') return "%";
    return convert(mapped != nullptr ? *mapped : argument(), spec);
  }

  std::string convert(const Value& value, Spec spec) {
    const char type = spec.type;
    const auto text = [&](const std::string& t) {
      spec.zero = false;
      return pad({}, cut(t, spec.precision), spec, '>');
    };
    switch (type) {
      case 's':
        return text(to_text(value));
      case 'r':
        return text(to_repr(value));
      case 'a':
        return text(to_ascii(to_repr(value)));
      case 'c':
        if (value.is_string() && length_of(value) == 1) return text(value.text());
        break;
      case 'd':
      case 'i':
      case 'u':
        if (value.kind() == Kind::real && std::fabs(value.as_real()) < 1e37) {
          spec.type = 'd';
          return format_number(Value::integer(static_cast<Int>(value.as_real())), spec);
        }
        spec.type = 'd';
        break;
      case 'x':
      case 'X':
      case 'o':
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        break;
      default:
        throw Failure(std::string("unsupported format character '") + type + "'");
    }
    require_defined(value);
    const bool integers_only = std::string_view("xXoc").find(type) != std::string_view::npos;
    if (!value.is_number() || (integers_only && !value.is_integer())) {
      throw Failure(std::string("%") + type + " format: a real number is required, not " + type_name(value));
    }
    return format_number(value, spec);
  }

  const std::string& format_;
  const Value& value_;
  size_t at_ = 0;
  size_t used_ = 0;
  bool mapped_ = false;
};

// --- str.format -----------------------------------------------------------------------------------------------------

Spec parse_spec(const std::string& text) {
  Spec spec;
  size_t at = 0;
  const std::string_view aligns = "<>^=";
  size_t after_first = 0;
  if (!text.empty()) next_code_point(text, after_first);
  if (after_first < text.size() && aligns.find(text[after_first]) != std::string_view::npos) {
    spec.fill = text.substr(0, after_first);
    spec.align = text[after_first];
    at = after_first + 1;
  } else if (!text.empty() && aligns.find(text[0]) != std::string_view::npos) {
    spec.align = text[at++];
  }
  if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' ')) spec.sign = text[at++];
  if (at < text.size() && text[at] == '#') spec.alternate = ++at > 0;
  if (at < text.size() && text[at] == '0') spec.zero = ++at > 0;
  spec.width = read_number(text, at, kMaxWidth);
  if (at < text.size() && (text[at] == ',' || text[at] == '_')) spec.group = text[at++];
  if (at < text.size() && text[at] == '.') {
    ++at;
    spec.precision = read_number(text, at, kMaxPrecision);
  }
  if (at < text.size()) spec.type = text[at++];
  if (at != text.size()) throw Failure("Invalid format specifier '" + text + "'");
  return spec;
}

std::string format_value(const Value& value, const std::string& spec_text) {
  if (spec_text.empty()) return to_text(value);
  const Spec spec = parse_spec(spec_text);
  if (value.is_string() || value.kind() == Kind::boolean) {
    if (value.is_string() || spec.type == 's') {
      if (spec.type != 0 && spec.type != 's') {
        throw Failure(std::string("Unknown format code '") + spec.type + "' for object of type 'str'");
      }
      return pad({}, cut(to_text(value), spec.precision), spec, '<');
    }
  }
  if (!value.is_number()) throw Failure("unsupported format string passed to " + type_name(value) + ".__format__");
  const std::string_view codes = value.is_integer() ? "bcdoxXneEfFgG%" : "eEfFgGn%";
  if (spec.type != 0 && codes.find(spec.type) == std::string_view::npos) {
    throw Failure(std::string("Unknown format code '") + spec.type + "' for object of type '" + type_name(value) + "'");
  }
  return format_number(value, spec);
}

class BraceFormatter {
 public:
  BraceFormatter(const std::string& format, const Arguments& arguments) : format_(format), arguments_(arguments) {}

  std::string run() { return format_text(format_, 2); }

 private:
  std::string format_text(const std::string& text, int depth) {
    if (depth < 0) throw Failure("Max string recursion exceeded");
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const char c = text[at];
      if (c != '{' && c != '}') {
        const size_t end = std::min(text.find_first_of("{}", at), text.size());
        append_checked(out, std::string_view(text).substr(at, end - at));
        at = end;
      } else if (at + 1 < text.size() && text[at + 1] == c) {
        out += c;
        at += 2;
      } else if (c == '}') {
        throw Failure("Single '}' encountered in format string");
      } else {
        size_t end = at + 1;
        for (int open = 1; end < text.size(); ++end) {
          open += text[end] == '{' ? 1 : text[end] == '}' ? -1 : 0;
          if (open == 0) break;
        }
        if (end >= text.size()) {
          throw Failure(at + 1 == text.size() ? "Single '{' encountered in format string"
                                              : "expected '}' before end of string");
        }
        append_checked(out, replace_field(text.substr(at + 1, end - at - 1), depth));
        at = end + 1;
      }
    }
    return out;
  }

  std::string replace_field(const std::string& field, int depth) {
    size_t name_end = 0;
    for (bool bracket = false; name_end < field.size(); ++name_end) {
      const char c = field[name_end];
      if (c == '[') bracket = true;
      if (c == ']') bracket = false;
      if (!bracket && (c == '!' || c == ':')) break;
    }
    Value value = lookup(field.substr(0, name_end));
    size_t at = name_end;
    if (at < field.size() && field[at] == '!') {
      const char how = at + 1 < field.size() ? field[at + 1] : 0;
      if (how != 's' && how != 'r' && how != 'a') throw Failure("Unknown conversion specifier in a format");
      value = Value::string(how == 's' ? to_text(value) : how == 'r' ? to_repr(value) : to_ascii(to_repr(value)));
      at += 2;
    }
    if (at < field.size() && field[at] != ':') throw Failure("expected ':' after conversion specifier");
    return format_value(value, at < field.size() ? format_text(field.substr(at + 1), depth - 1) : std::string());
  }

  static bool is_number(const std::string& text) {
    return !text.empty() && text.size() < 9 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  }

  Value lookup(const std::string& field) {
    size_t at = std::min(field.find_first_of(".["), field.size());
    const std::string first = field.substr(0, at);
    Value value;
    if (first.empty() || is_number(first)) {
      if (first.empty() ? next_ == kNumbered : next_ != 0 && next_ != kNumbered) {
        throw Failure("cannot switch from manual field specification to automatic field numbering");
      }
      const size_t index = first.empty() ? next_++ : static_cast<size_t>(std::stoi(first));
      if (!first.empty()) next_ = kNumbered;
      if (index >= arguments_.positional.size())
        throw Failure("Replacement index " + std::to_string(index) + " out of range for positional args tuple");
      value = arguments_.positional[index];
    } else {
      const auto named = std::find_if(arguments_.named.begin(), arguments_.named.end(),
                                      [&](const auto& a) { return a.first == first; });
      if (named == arguments_.named.end()) throw Failure("'" + first + "' is not an argument of the format");
      value = named->second;
    }
    while (at < field.size()) {
      if (field[at] == '.') {
        const size_t end = std::min(field.find_first_of(".[", at + 1), field.size());
        value = get_attribute(value, field.substr(at + 1, end - at - 1));
        at = end;
      } else if (field[at] == '[') {
        const size_t end = field.find(']', at);
        if (end == std::string::npos) throw Failure("Missing ']' in format string");
        const std::string key = field.substr(at + 1, end - at - 1);
        value = get_item(value, is_number(key) ? Value::integer(std::stoi(key)) : Value::string(key));
        at = end + 1;
      } else {
        throw Failure("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  static constexpr size_t kNumbered = static_cast<size_t>(-1);
  const std::string& format_;
  const Arguments& arguments_;
  size_t next_ = 0;
};

}  // namespace

std::string format_percent(const std::string& format, const Value& value) {
  work_bytes(format.size());
  return PercentFormatter(format, value).run();
}

std::string format_braces(const std::string& format, const Arguments& arguments) {
  work_bytes(format.size());
  return BraceFormatter(format, arguments).run();
}

}  // namespace plimsoll::jinja
