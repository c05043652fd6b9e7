#include "data/jinja/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "data/jinja/methods.h"
#include "data/jinja/unicode.h"

namespace plimsoll::jinja {
namespace {

// Receives the events of nlohmann's parser and builds values, so that no other tree of the document ever exists.
class Builder {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  bool null() { return put(Value()); }
  bool boolean(bool value) { return put(Value::boolean(value)); }
  bool number_integer(number_integer_t value) { return put(Value::integer(value)); }
  bool number_unsigned(number_unsigned_t value) { return put(Value::integer(value)); }
  bool number_float(number_float_t value, const string_t& text) {
    if (text.find_first_of(".eE") != string_t::npos) return put(Value::real(value));
    Int integer = 0;  // too large for 64 bits
    for (const char c : text) {
      if (c == '-') continue;
      if (__builtin_mul_overflow(integer, Int{10}, &integer) ||
          __builtin_add_overflow(integer, Int{c - '0'}, &integer)) {
        return put(Value::real(value));
      }
    }
    return put(Value::integer(text[0] == '-' ? -integer : integer));
  }
  bool string(string_t& value) { return put(Value::string(std::move(value))); }
  bool binary(binary_t&) { return false; }
  bool start_object(size_t) { return open(); }
  bool start_array(size_t) { return open(); }
  bool key(string_t& value) {
    open_.back().keys.push_back(Value::string(std::move(value)));
    return true;
  }
  bool end_object() {
    Frame frame = close();
    std::vector<std::pair<Value, Value>> entries;
    entries.reserve(frame.values.size());
    for (size_t i = 0; i < frame.values.size(); ++i)
      entries.emplace_back(std::move(frame.keys[i]), std::move(frame.values[i]));
    return put(Value::dict(std::move(entries)));
  }
  bool end_array() {
    Frame frame = close();
    frame.values.shrink_to_fit();
    return put(Value::list(std::move(frame.values)));
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception& error) {
    // The parser's own words without its number: "[json.exception.parse_error.101] parse error at …: what".
    std::string text = error.what();
    const size_t bracket = text.find("] ");
    if (bracket != std::string::npos) text = text.substr(bracket + 2);
    // What it last read can be megabytes.
    if (text.size() > 200) text = text.substr(0, byte_offset(text, 160)) + "… at byte " + std::to_string(position);
    throw Failure(text);
  }

  Value result;

 private:
  struct Frame {
    std::vector<Value> keys, values;
  };

  bool open() {
    if (open_.size() >= static_cast<size_t>(kMaxJsonDepth)) {
      throw Failure("JSON is nested more than " + std::to_string(kMaxJsonDepth) + " deep");
    }
    open_.emplace_back();
    return true;
  }

  Frame close() {
    Frame frame = std::move(open_.back());
    open_.pop_back();
    return frame;
  }

  bool put(Value value) {
    if (++count_ > kMaxJsonValues) throw Failure("JSON has more than " + std::to_string(kMaxJsonValues) + " values");
    if (open_.empty()) {
      result = std::move(value);
    } else {
      open_.back().values.push_back(std::move(value));
    }
    return true;
  }

  std::vector<Frame> open_;
  int64_t count_ = 0;
};

Value convert(const nlohmann::ordered_json& json, int depth) {
  if (depth > kMaxJsonDepth) throw Failure("JSON is nested more than " + std::to_string(kMaxJsonDepth) + " deep");
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::boolean:
      return Value::boolean(json.get<bool>());
    case Type::number_integer:
      return Value::integer(json.get<int64_t>());
    case Type::number_unsigned:
      return Value::integer(json.get<uint64_t>());
    case Type::number_float:
      return Value::real(json.get<double>());
    case Type::string: {
      const auto& text = json.get_ref<const std::string&>();
      if (!is_valid_utf8(text)) throw Failure("a string is not valid UTF-8");
      return Value::string(text);
    }
    case Type::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(convert(item, depth + 1));
      return Value::list(std::move(items));
    }
    case Type::object: {
      std::vector<std::pair<Value, Value>> entries;
      for (const auto& [key, value] : json.items()) entries.emplace_back(Value::string(key), convert(value, depth + 1));
      return Value::dict(std::move(entries));
    }
    default:
      return {};
  }
}

class Writer {
 public:
  explicit Writer(const JsonStyle& style) : style_(style) {}

  std::string run(const Value& value) {
    write(value, 0);
    return std::move(out_);
  }

 private:
  void newline(int depth) {
    if (!style_.indented) return;
    std::string line = "\n";
    for (int i = 0; i < depth; ++i) append_checked(line, style_.indent);
    append_checked(out_, line);
  }

  void write_string(const std::string& text) {
    work_bytes(text.size());
    append_checked(out_, "\"");
    size_t plain = 0;  // start of what needs no escape
    for (size_t at = 0; at < text.size();) {
      const size_t start = at;
      const char32_t c = next_code_point(text, at);
      if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x80 || !style_.ascii)) continue;
      append_checked(out_, std::string_view(text).substr(plain, start - plain));
      plain = at;
      switch (c) {
        case '"':
          out_ += "\\\"";
          break;
        case '\\':
          out_ += "\\\\";
          break;
        case '\n':
          out_ += "\\n";
          break;
        case '\r':
          out_ += "\\r";
          break;
        case '\t':
          out_ += "\\t";
          break;
        case '\b':
          out_ += "\\b";
          break;
        case '\f':
          out_ += "\\f";
          break;
        default: {
          const auto n = static_cast<uint32_t>(c);
          out_ += n < 0x10000 ? fmt::format("\\u{:04x}", n)
                              : fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((n - 0x10000) >> 10),
                                            0xDC00 + ((n - 0x10000) & 0x3FF));
        }
      }
    }
    append_checked(out_, std::string_view(text).substr(plain));
    out_ += '"';
  }

  static std::string real_json(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return real_text(value);
  }

  static std::string key_text(const Value& key) {
    switch (key.kind()) {
      case Kind::string:
        return key.text();
      case Kind::none:
        return "null";
      case Kind::boolean:
        return key.as_boolean() ? "true" : "false";
      case Kind::integer:
        return integer_text(key.as_integer());
      case Kind::real:
        return real_json(key.as_real());
      default:
        throw Failure("keys must be str, int, float, bool or None, not " + type_name(key));
    }
  }

  void write_list(const std::vector<Value>& items, int depth) {
    if (items.empty()) return append_checked(out_, "[]");
    out_ += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) append_checked(out_, style_.item_separator);
      newline(depth + 1);
      write(items[i], depth + 1);
    }
    newline(depth);
    out_ += ']';
  }

  void write_dict(const DictObject& dict, int depth) {
    if (dict.entries.empty()) return append_checked(out_, "{}");
    std::vector<const std::pair<Value, Value>*> order;
    for (const auto& entry : dict.entries) order.push_back(&entry);
    if (style_.sort_keys) {
      work(static_cast<int64_t>(order.size()) * 16);
      std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return less(a->first, b->first); });
    }
    out_ += '{';
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0) append_checked(out_, style_.item_separator);
      newline(depth + 1);
      write_string(key_text(order[i]->first));
      append_checked(out_, style_.key_separator);
      write(order[i]->second, depth + 1);
    }
    newline(depth);
    out_ += '}';
  }

  void write(const Value& value, int depth) {
    work(1);
    switch (value.kind()) {
      case Kind::none:
        return append_checked(out_, "null");
      case Kind::boolean:
        return append_checked(out_, value.as_boolean() ? "true" : "false");
      case Kind::integer:
        return append_checked(out_, integer_text(value.as_integer()));
      case Kind::real:
        return append_checked(out_, real_json(value.as_real()));
      case Kind::string:
        return write_string(value.text());
      case Kind::list:
      case Kind::tuple:
        return write_list(value.items(), depth);
      case Kind::dict:
        return write_dict(value.as_dict(), depth);
      default:
        throw Failure("Object of type " + type_name(value) + " is not JSON serializable");
    }
  }

  const JsonStyle& style_;
  std::string out_;
};

}  // namespace

Value parse_json(std::string_view text) {
  Builder builder;
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return std::move(builder.result);
}

Value from_json(const nlohmann::ordered_json& json) { return convert(json, 0); }

std::string dump_json(const Value& value, const JsonStyle& style) { return Writer(style).run(value); }

}  // namespace plimsoll::jinja
