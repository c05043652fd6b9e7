// Filters on text, numbers and single values.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "data/jinja/filters.h"
#include "data/jinja/json.h"
#include "data/jinja/methods.h"
#include "data/jinja/operators.h"
#include "data/jinja/unicode.h"

namespace plimsoll::jinja {
namespace {

Value like(const Value& input, std::string text) { return Value::string(std::move(text), input.is_markup()); }

template <std::string (*Function)(std::string_view)>
Value change_case(const Value& input, Arguments& a) {
  const Parameters p("filter", a, {});
  const std::string text = to_text(input);
  work_bytes(text.size() * 8);
  return like(input, Function(text));
}

Value trim(const Value& input, Arguments& a) {
  const Parameters p("trim", a, {"chars"});
  const std::string text = to_text(input);
  if (!p.given(0)) return like(input, std::string(strip(text, true, true)));
  const std::string characters = p.text(0, {});
  work_bytes(characters.size() * text.size());
  return like(input, std::string(strip(text, characters, true, true)));
}

// As str.title, but only blanks, brackets and hyphens begin a word.
Value title(const Value& input, Arguments& a) {
  const Parameters p("title", a, {});
  const std::string text = to_text(input);
  std::string out, word;
  const auto flush = [&] {
    if (word.empty()) return;
    const size_t first = byte_offset(word, 1);
    out += to_upper(std::string_view(word).substr(0, first)) + to_lower(std::string_view(word).substr(first));
    word.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || is_space(c)) {
      flush();
      append_code_point(out, c);
    } else {
      append_code_point(word, c);
    }
  }
  flush();
  return like(input, std::move(out));
}

Value replace(const Value& input, Arguments& a) {
  const Parameters p("replace", a, {"old", "new", "count"});
  return like(input, replace_text(to_text(input), to_text(p.required(0)), to_text(p.required(1)), p.integer(2, -1)));
}

Value center(const Value& input, Arguments& a) {
  const Parameters p("center", a, {"width"});
  Arguments width;
  width.positional.push_back(Value::integer(p.integer(0, 80)));
  return *call_method(Value::string(to_text(input), input.is_markup()), "center", width);
}

Value indent(const Value& input, Arguments& a) {
  const Parameters p("indent", a, {"width", "first", "blank"});
  const bool text_width = p.has(0) && p.or_none(0).is_string();
  const Int width = text_width ? 0 : p.integer(0, 4);
  if (width > kMaxStringBytes) throw Failure("a string is longer than 64 MiB");
  const std::string blanks =
      text_width ? p.or_none(0).text() : std::string(static_cast<size_t>(std::max<Int>(0, width)), ' ');
  const std::string text = to_text(input) + "\n";
  work_bytes(text.size());
  std::string out = p.boolean(1, false) ? blanks : "";
  bool first = true;
  for (const std::string_view line : split_lines(text)) {
    if (!first) {
      append_checked(out, "\n");
      if (!line.empty() || p.boolean(2, false)) append_checked(out, blanks);
    }
    first = false;
    append_checked(out, line);
  }
  return like(input, std::move(out));
}

Value truncate(const Value& input, Arguments& a) {
  const Parameters p("truncate", a, {"length", "killwords", "end", "leeway"});
  const std::string text = to_text(input), end = p.text(2, "...");
  const Int length = p.integer(0, 255), end_length = count_code_points(end), leeway = p.integer(3, 5);
  if (length < end_length)
    throw Failure("expected length >= " + integer_text(end_length) + ", got " + integer_text(length));
  if (leeway < 0) throw Failure("expected leeway >= 0, got " + integer_text(leeway));
  if (count_code_points(text) <= length + leeway) return like(input, text);
  std::string start = text.substr(0, byte_offset(text, static_cast<int64_t>(length - end_length)));
  if (!p.boolean(1, false)) start = start.substr(0, std::min(start.rfind(' '), start.size()));
  return like(input, start + end);
}

Value word_count(const Value& input, Arguments& a) {
  const Parameters p("wordcount", a, {});
  const std::string text = to_text(input);
  work_bytes(text.size());
  Int count = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    const bool word = c == '_' || is_alpha(c) || is_numeric(c);
    count += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value::integer(count);
}

Value format(const Value& input, Arguments& a) {
  if (!a.positional.empty() && !a.named.empty())
    throw Failure("can't handle positional and keyword arguments at the same time");
  if (a.named.empty()) return Value::string(format_percent(to_text(input), Value::tuple(a.positional)));
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [name, value] : a.named) entries.emplace_back(Value::string(name), value);
  return Value::string(format_percent(to_text(input), Value::dict(std::move(entries))));
}

Value escape(const Value& input, Arguments& a) {
  const Parameters p("escape", a, {});
  if (input.is_markup()) return input;
  return Value::string(escape_html(to_text(input)), true);
}

Value force_escape(const Value& input, Arguments& a) {
  const Parameters p("forceescape", a, {});
  return Value::string(escape_html(to_text(input)), true);
}

Value safe(const Value& input, Arguments& a) {
  const Parameters p("safe", a, {});
  return Value::string(to_text(input), true);
}

Value string(const Value& input, Arguments& a) {
  const Parameters p("string", a, {});
  return input.is_string() ? input : Value::string(to_text(input));
}

void append_quoted(std::string& out, std::string_view text, std::string_view safe_characters) {
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos ||
                       safe_characters.find(c) != std::string_view::npos;
    if (c == ' ' && safe_characters.empty()) {  // in a query
      append_checked(out, "+");
      continue;
    }
    append_checked(out, plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c)));
  }
}

Value url_encode(const Value& input, Arguments& a) {
  const Parameters p("urlencode", a, {});
  std::string out;
  if (input.is_string() || !is_iterable(input)) {
    append_quoted(out, to_text(input), "/");
    return Value::string(std::move(out));
  }
  std::vector<Value> pairs;
  if (input.is_dict()) {
    for (const auto& [key, value] : input.as_dict().entries) pairs.push_back(Value::tuple({key, value}));
  } else {
    pairs = to_vector(input);
  }
  for (const Value& pair : pairs) {
    if (!pair.is_sequence() || pair.items().size() != 2) throw Failure("urlencode() needs pairs");
    if (!out.empty()) out += '&';
    append_quoted(out, to_text(pair.items()[0]), "");
    out += '=';
    append_quoted(out, to_text(pair.items()[1]), "");
  }
  return Value::string(std::move(out));
}

Value to_json(const Value& input, Arguments& a) {
  const Parameters p("tojson", a, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = p.boolean(0, false);
  if (p.given(1)) {
    style.indented = true;
    style.item_separator = ",";
    if (p.or_none(1).is_string()) {
      style.indent = p.or_none(1).text();
    } else {
      const Int width = p.integer(1, 0);
      if (width > 1 << 16) throw Failure("the indent of tojson is too large");
      style.indent.assign(static_cast<size_t>(std::max<Int>(0, width)), ' ');
    }
  }
  if (p.given(2)) {
    const Value& separators = p.or_none(2);
    if (!separators.is_sequence() || separators.items().size() != 2 || !separators.items()[0].is_string() ||
        !separators.items()[1].is_string()) {
      throw Failure("separators of tojson must be two strings");
    }
    style.item_separator = separators.items()[0].text();
    style.key_separator = separators.items()[1].text();
  }
  style.sort_keys = p.boolean(3, false);
  return Value::string(dump_json(input, style));
}

// --- numbers --------------------------------------------------------------------------------------------------------

std::optional<Int> parse_integer(std::string_view text, Int base) {
  text = strip(text, true, true);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const auto prefix = [&](char letter, Int of_base) {
    if ((base != of_base && base != 0) || text.size() < 3 || text[0] != '0' || (text[1] | 0x20) != letter) return false;
    base = of_base;
    text.remove_prefix(2);
    if (text.starts_with('_')) text.remove_prefix(1);
    return true;
  };
  const bool prefixed = prefix('x', 16) || prefix('o', 8) || prefix('b', 2);
  if (base == 0) {
    base = 10;
    if (!prefixed && text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != std::string_view::npos)
      return std::nullopt;
  }
  if (text.empty() || text.front() == '_' || text.back() == '_' || text.find("__") != std::string_view::npos)
    return std::nullopt;
  Int value = 0;
  for (const char c : text) {
    if (c == '_') continue;
    const int digit = c >= '0' && c <= '9'                     ? c - '0'
                      : (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? (c | 0x20) - 'a' + 10
                                                               : 99;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, Int{digit}, &value)) {
      throw Failure("an integer has more than 128 bits");
    }
  }
  return negative ? -value : value;
}

std::optional<double> parse_real(std::string_view text) {
  text = strip(text, true, true);
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_' && i > 0 && i + 1 < text.size() && std::isdigit(static_cast<unsigned char>(text[i - 1])) &&
        std::isdigit(static_cast<unsigned char>(text[i + 1]))) {
      continue;
    }
    digits += text[i];
  }
  if (digits.starts_with('+')) digits.erase(0, 1);
  if (digits.starts_with('+') || digits.empty()) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (end != digits.data() + digits.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) {
    const bool tiny = digits.find("e-") != std::string::npos || digits.find("E-") != std::string::npos;
    return tiny ? 0.0 : digits[0] == '-' ? -INFINITY : INFINITY;
  }
  return error == std::errc() ? std::optional<double>(value) : std::nullopt;
}

std::optional<Int> truncate_real(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  if (std::fabs(value) > 1.6e38) throw Failure("an integer has more than 128 bits");
  return static_cast<Int>(value);
}

Value to_integer(const Value& input, Arguments& a) {
  const Parameters p("int", a, {"default", "base"});
  const Value otherwise = p.has(0) ? p.or_none(0) : Value::integer(0);
  std::optional<Int> value;
  if (input.is_string()) {
    value = parse_integer(input.text(), p.integer(1, 10));
    const std::optional<double> real = value ? std::nullopt : parse_real(input.text());
    if (real) value = truncate_real(*real);
  } else if (input.is_integer()) {
    value = input.as_integer();
  } else if (input.kind() == Kind::real) {
    value = truncate_real(input.as_real());
  } else {
    require_defined(input);
  }
  return value ? Value::integer(*value) : otherwise;
}

Value to_real(const Value& input, Arguments& a) {
  const Parameters p("float", a, {"default"});
  if (input.is_number()) return Value::real(input.as_real());
  require_defined(input);
  const std::optional<double> value = input.is_string() ? parse_real(input.text()) : std::nullopt;
  return value ? Value::real(*value) : p.has(0) ? p.or_none(0) : Value::real(0.0);
}

Value absolute(const Value& input, Arguments& a) {
  const Parameters p("abs", a, {});
  require_defined(input);
  if (input.kind() == Kind::real) return Value::real(std::fabs(input.as_real()));
  if (!input.is_integer()) throw Failure("bad operand type for abs(): '" + type_name(input) + "'");
  return input.as_integer() < 0 ? negate(input) : Value::integer(input.as_integer());
}

// Python's round: to nearest, ties to even, of the exact binary value.
double round_real(double value, Int digits) {
  if (!std::isfinite(value) || digits > 323) return value;
  if (digits < -308) return 0.0 * value;
  if (digits >= 0) {
    const std::string text = fmt::format("{:.{}f}", value, static_cast<int>(digits));
    double rounded = 0;
    std::from_chars(text.data(), text.data() + text.size(), rounded);
    return rounded;
  }
  const double scale = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(value / scale) * scale;
}

Value round(const Value& input, Arguments& a) {
  const Parameters p("round", a, {"precision", "method"});
  const Int precision = p.integer(0, 0);
  const std::string method = p.text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor")
    throw Failure("method must be common, ceil or floor");
  require_defined(input);
  if (!input.is_number()) throw Failure("type " + type_name(input) + " doesn't define __round__ method");
  if (method == "common") {
    if (input.kind() == Kind::real) return Value::real(round_real(input.as_real(), precision));
    if (precision >= 0) return Value::integer(input.as_integer());
    if (precision < -37) return Value::integer(0);
    const Value scale = apply_binary("**", Value::integer(10), Value::integer(-precision));
    const Int unit = scale.as_integer(), value = input.as_integer();
    const Int below = apply_binary("*", apply_binary("//", input, scale), scale).as_integer(), rest = value - below;
    const bool up = rest * 2 > unit || (rest * 2 == unit && (below / unit) % 2 != 0);
    return Value::integer(up ? below + unit : below);
  }
  const double scale = std::pow(10.0, static_cast<double>(precision)), scaled = input.as_real() * scale;
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value use_default(const Value& input, Arguments& a) {
  const Parameters p("default", a, {"default_value", "boolean"});
  if (!input.is_undefined() && !(p.boolean(1, false) && !is_true(input))) return input;
  return p.has(0) ? p.or_none(0) : Value::string({});
}

}  // namespace

const std::unordered_map<std::string_view, Filter>& text_filters() {
  static const std::unordered_map<std::string_view, Filter> table = {
      {"upper", change_case<to_upper>},
      {"lower", change_case<to_lower>},
      {"capitalize", change_case<to_capitalized>},
      {"title", title},
      {"trim", trim},
      {"replace", replace},
      {"center", center},
      {"indent", indent},
      {"truncate", truncate},
      {"wordcount", word_count},
      {"format", format},
      {"escape", escape},
      {"e", escape},
      {"forceescape", force_escape},
      {"safe", safe},
      {"string", string},
      {"urlencode", url_encode},
      {"tojson", to_json},
      {"int", to_integer},
      {"float", to_real},
      {"abs", absolute},
      {"round", round},
      {"default", use_default},
      {"d", use_default},
  };
  return table;
}

}  // namespace plimsoll::jinja
