#include "data/jinja/string_methods.h"

#include <algorithm>

#include "data/jinja/methods.h"
#include "data/jinja/operators.h"
#include "data/jinja/unicode.h"

namespace plimsoll::jinja {
namespace {

Value like(const Value& self, std::string text) { return Value::string(std::move(text), self.is_markup()); }

template <std::string (*Function)(std::string_view)>
Value change_case(const Value& self, Arguments& a) {
  const Parameters p("str method", a, {});
  work_bytes(self.text().size() * 8);
  return like(self, Function(self.text()));
}

template <bool kLeft, bool kRight>
Value strip_method(const Value& self, Arguments& a) {
  const Parameters p(kLeft && kRight ? "strip" : kLeft ? "lstrip" : "rstrip", a, {"chars"});
  if (!p.given(0)) return like(self, std::string(strip(self.text(), kLeft, kRight)));
  const std::string characters = p.text(0, {});
  work_bytes(characters.size() * self.text().size());
  return like(self, std::string(strip(self.text(), characters, kLeft, kRight)));
}

std::vector<Value> to_values(const Value& self, const std::vector<std::string_view>& parts) {
  std::vector<Value> out;
  out.reserve(parts.size());
  for (const std::string_view part : parts) out.push_back(like(self, std::string(part)));
  return out;
}

Value split_lines_method(const Value& self, Arguments& a) {
  const Parameters p("splitlines", a, {"keepends"});
  work_bytes(self.text().size());
  return Value::list(to_values(self, split_lines(self.text(), p.boolean(0, false))));
}

// split() without a separator: words between runs of white space. At most `limit` cuts (< 0: all).
std::vector<std::string_view> split_words(std::string_view text, Int limit) {
  std::vector<std::string_view> out;
  text = strip(text, true, false);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<Int>(out.size()) == limit) {
      out.push_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      size_t next = end;
      if (is_space(next_code_point(text, next))) break;
      end = next;
    }
    out.push_back(text.substr(0, end));
    text = strip(text.substr(end), true, false);
  }
  return out;
}

std::vector<std::string_view> split_words_from_right(std::string_view text, Int limit) {
  std::vector<std::string_view> out;
  text = strip(text, false, true);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<Int>(out.size()) == limit) {
      out.push_back(text);
      break;
    }
    size_t start = text.size();
    while (start > 0) {
      size_t before = start - 1;
      while (before > 0 && (static_cast<unsigned char>(text[before]) & 0xC0) == 0x80) --before;
      size_t at = before;
      if (is_space(next_code_point(text, at))) break;
      start = before;
    }
    out.push_back(text.substr(start));
    text = strip(text.substr(0, start), false, true);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, Int limit) {
  std::vector<std::string_view> out;
  size_t at = 0;
  while (limit < 0 || static_cast<Int>(out.size()) < limit) {
    const size_t next = find_text(text, separator, at);
    if (next == std::string::npos) break;
    out.push_back(text.substr(at, next - at));
    at = next + separator.size();
  }
  out.push_back(text.substr(at));
  return out;
}

std::vector<std::string_view> split_at_from_right(std::string_view text, std::string_view separator, Int limit) {
  std::vector<std::string_view> out;
  size_t end = text.size();
  while (limit < 0 || static_cast<Int>(out.size()) < limit) {
    const size_t at = text.substr(0, end).rfind(separator);
    if (at == std::string::npos) break;
    work_bytes(end - at + separator.size());
    out.push_back(text.substr(at + separator.size(), end - at - separator.size()));
    end = at;
  }
  out.push_back(text.substr(0, end));
  std::reverse(out.begin(), out.end());
  return out;
}

template <bool kRight>
Value split_method(const Value& self, Arguments& a) {
  const Parameters p(kRight ? "rsplit" : "split", a, {"sep", "maxsplit"});
  const std::string_view text = self.text();
  work_bytes(text.size());
  const Int limit = p.integer(1, -1);
  if (!p.given(0))
    return Value::list(to_values(self, kRight ? split_words_from_right(text, limit) : split_words(text, limit)));
  const std::string separator = p.text(0, {});
  if (separator.empty()) throw Failure("empty separator");
  if (kRight) work_bytes(text.size() * std::min<size_t>(separator.size(), 64));
  return Value::list(
      to_values(self, kRight ? split_at_from_right(text, separator, limit) : split_at(text, separator, limit)));
}

template <bool kRight>
Value partition_method(const Value& self, Arguments& a) {
  const Parameters p(kRight ? "rpartition" : "partition", a, {"sep"});
  const std::string& text = self.text();
  const std::string separator = p.text(0, {});
  if (separator.empty()) throw Failure("empty separator");
  work_bytes(text.size() * (kRight ? std::min<size_t>(separator.size(), 64) : 1));
  const size_t at = kRight ? text.rfind(separator) : find_text(text, separator, 0);
  if (at == std::string::npos) {
    const Value empty = Value::string({});
    return kRight ? Value::tuple({empty, empty, self}) : Value::tuple({self, empty, empty});
  }
  return Value::tuple(
      {like(self, text.substr(0, at)), like(self, separator), like(self, text.substr(at + separator.size()))});
}

// The part of the text that start and stop (in code points) leave, and where it begins. False: start is past the end.
bool window(const Value& self, const Parameters& p, size_t first, std::string_view& text, Int& offset) {
  text = self.text();
  offset = 0;
  if (!p.given(first) && !p.given(first + 1)) return true;
  const Int length = length_of(self);
  Int start = p.integer(first, 0), stop = p.integer(first + 1, length);
  start = start < 0 ? std::max<Int>(0, start + length) : start;
  stop = stop < 0 ? std::max<Int>(0, stop + length) : std::min(stop, length);
  if (start > length || start > stop) return false;
  work_bytes(text.size());
  const size_t begin = byte_offset(text, static_cast<int64_t>(start)),
               end = byte_offset(text, static_cast<int64_t>(stop));
  text = text.substr(begin, end - begin);
  offset = start;
  return true;
}

template <bool kRight, bool kFail>
Value find_method_of_text(const Value& self, Arguments& a) {
  const Parameters p("find", a, {"sub", "start", "end"});
  p.required(0);
  const std::string part = p.text(0, {});
  std::string_view text;
  Int offset = 0;
  if (window(self, p, 1, text, offset)) {
    work_bytes(text.size() * (kRight ? std::min<size_t>(part.size() + 1, 64) : 1));
    const size_t at = kRight ? text.rfind(part) : find_text(text, part, 0);
    if (at != std::string::npos) return Value::integer(offset + count_code_points(text.substr(0, at)));
  }
  if (kFail) throw Failure("substring not found");
  return Value::integer(-1);
}

Value count_method(const Value& self, Arguments& a) {
  const Parameters p("count", a, {"sub", "start", "end"});
  p.required(0);
  const std::string part = p.text(0, {});
  std::string_view text;
  Int offset = 0;
  if (!window(self, p, 1, text, offset)) return Value::integer(0);
  work_bytes(text.size());
  if (part.empty()) return Value::integer(count_code_points(text) + 1);
  Int count = 0;
  for (size_t at = find_text(text, part, 0); at != std::string::npos; at = find_text(text, part, at + part.size()))
    ++count;
  return Value::integer(count);
}

template <bool kEnd>
Value starts_method(const Value& self, Arguments& a) {
  const Parameters p(kEnd ? "endswith" : "startswith", a, {"prefix", "start", "end"});
  const Value& argument = p.required(0);
  require_defined(argument);
  std::string_view text;
  Int offset = 0;
  const bool inside = window(self, p, 1, text, offset);
  const auto matches = [&](const Value& part) {
    if (!part.is_string()) {
      throw Failure(std::string(kEnd ? "endswith" : "startswith") + " first arg must be str or a tuple of str, not " +
                    type_name(part));
    }
    return inside && (kEnd ? text.ends_with(part.text()) : text.starts_with(part.text()));
  };
  if (argument.kind() != Kind::tuple) return Value::boolean(matches(argument));
  return Value::boolean(std::any_of(argument.items().begin(), argument.items().end(), matches));
}

Value replace_method(const Value& self, Arguments& a) {
  const Parameters p("replace", a, {"old", "new", "count"});
  p.required(1);
  return like(self, replace_text(self.text(), p.text(0, {}), p.text(1, {}), p.integer(2, -1)));
}

template <bool kEnd>
Value remove_method(const Value& self, Arguments& a) {
  const Parameters p(kEnd ? "removesuffix" : "removeprefix", a, {"affix"});
  const std::string& text = self.text();
  p.required(0);
  const std::string affix = p.text(0, {});
  if (kEnd) return like(self, text.ends_with(affix) ? text.substr(0, text.size() - affix.size()) : text);
  return like(self, text.starts_with(affix) ? text.substr(affix.size()) : text);
}

Value join_method(const Value& self, Arguments& a) {
  const Parameters p("join", a, {"iterable"});
  std::string out;
  Int index = 0;
  auto next = iterate(p.required(0));
  for (Value item; next(item); ++index) {
    if (!item.is_string()) {
      throw Failure("sequence item " + integer_text(index) + ": expected str instance, " + type_name(item) + " found");
    }
    if (index > 0) append_checked(out, self.text());
    append_checked(out, item.text());
  }
  return like(self, std::move(out));
}

// All characters fulfil the test, and there is at least one.
template <bool (*Test)(char32_t)>
Value all_are(const Value& self, Arguments& a) {
  const Parameters p("str method", a, {});
  const std::string& text = self.text();
  work_bytes(text.size());
  for (size_t at = 0; at < text.size();) {
    if (!Test(next_code_point(text, at))) return Value::boolean(false);
  }
  return Value::boolean(!text.empty());
}

bool is_alphanumeric(char32_t c) { return is_alpha(c) || is_numeric(c); }

// All cased characters are upper (lower) case, and there is at least one.
template <bool (*Wanted)(char32_t)>
Value case_is(const Value& self, Arguments& a) {
  const Parameters p("str method", a, {});
  bool any = false;
  work_bytes(self.text().size());
  for (size_t at = 0; at < self.text().size();) {
    const char32_t c = next_code_point(self.text(), at);
    if (is_cased(c) && !Wanted(c)) return Value::boolean(false);
    any |= Wanted(c);
  }
  return Value::boolean(any);
}

Value is_title_method(const Value& self, Arguments& a) {
  const Parameters p("istitle", a, {});
  bool any = false, inside = false;
  for (size_t at = 0; at < self.text().size();) {
    const char32_t c = next_code_point(self.text(), at);
    if (is_upper(c) ? inside : is_lower(c) && !inside) return Value::boolean(false);
    inside = is_cased(c);
    any |= inside;
  }
  return Value::boolean(any);
}

Value is_ascii_method(const Value& self, Arguments& a) {
  const Parameters p("isascii", a, {});
  return Value::boolean(is_ascii(self.text()));
}

Value is_printable_method(const Value& self, Arguments& a) {
  const Parameters p("isprintable", a, {});
  return Value::boolean(self.text().empty() || all_are<is_printable>(self, a).as_boolean());
}

Value is_identifier_method(const Value& self, Arguments& a) {
  const Parameters p("isidentifier", a, {});
  for (size_t at = 0; at < self.text().size();) {
    const bool first = at == 0;
    const char32_t c = next_code_point(self.text(), at);
    if (!(c == '_' || is_alpha(c) || (!first && is_decimal(c)))) return Value::boolean(false);
  }
  return Value::boolean(!self.text().empty());
}

std::string padding(const Parameters& p, Int count) {
  const std::string fill = p.text(1, " ");
  if (count_code_points(fill) != 1) throw Failure("The fill character must be exactly one character long");
  if (count > kMaxStringBytes / 4) throw Failure("a string is longer than 64 MiB");
  std::string out;
  for (Int i = 0; i < count; ++i) out += fill;
  return out;
}

template <int kWhere>  // -1: text left, 0: centre, 1: text right
Value justify(const Value& self, Arguments& a) {
  const Parameters p(kWhere == 0 ? "center" : kWhere < 0 ? "ljust" : "rjust", a, {"width", "fillchar"});
  p.required(0);
  const Int width = p.integer(0, 0), missing = width - length_of(self);
  if (missing <= 0) return self;
  const Int left = kWhere < 0 ? 0 : kWhere > 0 ? missing : missing / 2 + (missing & width & 1);
  return like(self, padding(p, left) + self.text() + padding(p, missing - left));
}

Value zfill_method(const Value& self, Arguments& a) {
  const Parameters p("zfill", a, {"width"});
  const Int missing = p.integer(0, 0) - length_of(self);
  if (missing <= 0) return self;
  if (missing > kMaxStringBytes) throw Failure("a string is longer than 64 MiB");
  const std::string& text = self.text();
  const bool sign = !text.empty() && (text[0] == '-' || text[0] == '+');
  return like(
      self, text.substr(0, sign ? 1 : 0) + std::string(static_cast<size_t>(missing), '0') + text.substr(sign ? 1 : 0));
}

Value expand_tabs(const Value& self, Arguments& a) {
  const Parameters p("expandtabs", a, {"tabsize"});
  const Int size = std::clamp<Int>(p.integer(0, 8), 0, 1 << 20);
  std::string out;
  Int column = 0;
  for (const char c : self.text()) {
    if (c == '\t') {
      const Int blanks = size == 0 ? 0 : size - column % size;
      append_checked(out, std::string(static_cast<size_t>(blanks), ' '));
      column += blanks;
    } else {
      out += c;
      column = c == '\n' || c == '\r' ? 0 : column + ((static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0);
    }
  }
  return like(self, std::move(out));
}

Value format_method(const Value& self, Arguments& a) { return like(self, format_braces(self.text(), a)); }

Value format_map_method(const Value& self, Arguments& a) {
  const Parameters p("format_map", a, {"mapping"});
  if (!p.required(0).is_dict()) throw Failure("format_map() needs a mapping");
  Arguments named;
  for (const auto& [key, value] : p.required(0).as_dict().entries) {
    if (key.is_string()) named.named.emplace_back(key.text(), value);
  }
  return like(self, format_braces(self.text(), named));
}

}  // namespace

const std::unordered_map<std::string_view, Method>& string_methods() {
  static const std::unordered_map<std::string_view, Method> table = {
      {"upper", change_case<to_upper>},
      {"lower", change_case<to_lower>},
      {"casefold", change_case<to_lower>},
      {"title", change_case<to_title>},
      {"capitalize", change_case<to_capitalized>},
      {"swapcase", change_case<to_swapped_case>},
      {"strip", strip_method<true, true>},
      {"lstrip", strip_method<true, false>},
      {"rstrip", strip_method<false, true>},
      {"split", split_method<false>},
      {"rsplit", split_method<true>},
      {"splitlines", split_lines_method},
      {"partition", partition_method<false>},
      {"rpartition", partition_method<true>},
      {"find", find_method_of_text<false, false>},
      {"rfind", find_method_of_text<true, false>},
      {"index", find_method_of_text<false, true>},
      {"rindex", find_method_of_text<true, true>},
      {"count", count_method},
      {"startswith", starts_method<false>},
      {"endswith", starts_method<true>},
      {"replace", replace_method},
      {"removeprefix", remove_method<false>},
      {"removesuffix", remove_method<true>},
      {"join", join_method},
      {"isalpha", all_are<is_alpha>},
      {"isalnum", all_are<is_alphanumeric>},
      {"isdecimal", all_are<is_decimal>},
      {"isdigit", all_are<is_digit>},
      {"isnumeric", all_are<is_numeric>},
      {"isspace", all_are<is_space>},
      {"isupper", case_is<is_upper>},
      {"islower", case_is<is_lower>},
      {"istitle", is_title_method},
      {"isascii", is_ascii_method},
      {"isprintable", is_printable_method},
      {"isidentifier", is_identifier_method},
      {"center", justify<0>},
      {"ljust", justify<-1>},
      {"rjust", justify<1>},
      {"zfill", zfill_method},
      {"expandtabs", expand_tabs},
      {"format", format_method},
      {"format_map", format_map_method},
  };
  return table;
}

}  // namespace plimsoll::jinja
