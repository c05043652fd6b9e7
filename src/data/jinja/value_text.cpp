// str() and repr() of values, as Python writes them.
#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "data/jinja/unicode.h"
#include "data/jinja/value.h"

namespace plimsoll::jinja {
namespace {

void append_repr(std::string& out, const Value& value, int depth);

void check_size(const std::string& out) {
  if (static_cast<int64_t>(out.size()) > kMaxStringBytes) throw Failure("a string is longer than 64 MiB");
}

void append_string_repr(std::string& out, const std::string& text) {
  work_bytes(text.size());
  const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  out += quote;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const char32_t c = next_code_point(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7F) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    } else if (c < 0x7F || is_printable(c)) {
      out.append(text, start, at - start);
    } else {
      const auto n = static_cast<uint32_t>(c);
      out += n <= 0xFF     ? fmt::format("\\x{:02x}", n)
             : n <= 0xFFFF ? fmt::format("\\u{:04x}", n)
                           : fmt::format("\\U{:08x}", n);
    }
  }
  out += quote;
}

void append_items(std::string& out, const std::vector<Value>& items, int depth) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(out, items[i], depth + 1);
    check_size(out);
  }
}

void append_list(std::string& out, const Value& value, int depth) {
  const ListObject& list = value.as_list();
  switch (value.kind()) {
    case Kind::list:
      out += '[';
      append_items(out, list.items, depth);
      out += ']';
      break;
    case Kind::tuple:
      out += '(';
      append_items(out, list.items, depth);
      out += list.items.size() == 1 ? ",)" : ")";
      break;
    case Kind::range:
      out += "range(" + integer_text(list.start) + ", " + integer_text(list.stop);
      if (list.step != 1) out += ", " + integer_text(list.step);
      out += ')';
      break;
    default:
      out += list.type_name;
      out += "([";
      append_items(out, list.items, depth);
      out += "])";
  }
}

void append_repr(std::string& out, const Value& value, int depth) {
  work(1);
  if (depth > kMaxValueDepth) throw Failure("values are nested too deeply to be written");
  switch (value.kind()) {
    case Kind::none:
      out += "None";
      break;
    case Kind::undefined:
      out += "Undefined";
      break;
    case Kind::boolean:
      out += value.as_boolean() ? "True" : "False";
      break;
    case Kind::integer:
      out += integer_text(value.as_integer());
      break;
    case Kind::real:
      out += real_text(value.as_real());
      break;
    case Kind::string:
      if (value.is_markup()) out += "Markup(";
      append_string_repr(out, value.text());
      if (value.is_markup()) out += ')';
      break;
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      append_list(out, value, depth);
      break;
    case Kind::dict: {
      out += '{';
      bool first = true;
      for (const auto& [key, item] : value.as_dict().entries) {
        if (!first) out += ", ";
        first = false;
        append_repr(out, key, depth + 1);
        out += ": ";
        append_repr(out, item, depth + 1);
        check_size(out);
      }
      out += '}';
      break;
    }
    case Kind::name_space: {
      out += "<Namespace {";
      bool first = true;
      for (const auto& [key, item] : value.as_namespace().entries) {
        if (!first) out += ", ";
        first = false;
        append_string_repr(out, key);
        out += ": ";
        append_repr(out, item, depth + 1);
        check_size(out);
      }
      out += "}>";
      break;
    }
    case Kind::generator:
      out += "<generator>";
      break;
    case Kind::callable:
      out += fmt::format("<{} '{}'>", value.as_callable().type_name, value.as_callable().name);
      break;
    case Kind::loop:
      out += "<LoopContext>";
      break;
  }
}

}  // namespace

std::string integer_text(Int value) {
  if (value == 0) return "0";
  std::string digits;
  const bool negative = value < 0;
  for (auto rest = negative ? -static_cast<unsigned __int128>(value) : static_cast<unsigned __int128>(value); rest != 0;
       rest /= 10) {
    digits.insert(digits.begin(), static_cast<char>('0' + static_cast<int>(rest % 10)));
  }
  return negative ? "-" + digits : digits;
}

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  std::string text(buffer, error == std::errc() ? end : buffer);
  const size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  std::string sign, digits;
  for (const char c : text.substr(0, e)) {
    if (c == '-') sign = "-";
    if (c >= '0' && c <= '9') digits += c;
  }
  if (exponent < -4 || exponent >= 16) {
    const std::string fraction = digits.size() > 1 ? "." + digits.substr(1) : "";
    return sign + digits[0] + fraction + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string to_repr(const Value& value) {
  std::string out;
  append_repr(out, value, 0);
  return out;
}

std::string to_text(const Value& value) {
  if (value.is_string()) return value.text();
  if (value.is_undefined()) return {};
  return to_repr(value);
}

}  // namespace plimsoll::jinja
