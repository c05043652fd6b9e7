#include "data/jinja/methods.h"

#include <cmath>
#include <cstring>
#include <unordered_map>

#include "data/jinja/string_methods.h"
#include "data/jinja/unicode.h"

namespace plimsoll::jinja {
namespace {

Value dict_get(const Value& self, Arguments& a) {
  const Parameters p("get", a, {"key", "default"});
  const Value* value = self.as_dict().find(p.required(0));
  return value != nullptr ? *value : p.or_none(1);
}

Value dict_keys(const Value& self, Arguments& a) {
  const Parameters p("keys", a, {});
  std::vector<Value> out;
  for (const auto& entry : self.as_dict().entries) out.push_back(entry.first);
  return Value::view(std::move(out), "dict_keys");
}

Value dict_values(const Value& self, Arguments& a) {
  const Parameters p("values", a, {});
  std::vector<Value> out;
  for (const auto& entry : self.as_dict().entries) out.push_back(entry.second);
  return Value::view(std::move(out), "dict_values");
}

Value dict_items(const Value& self, Arguments& a) {
  const Parameters p("items", a, {});
  std::vector<Value> out;
  for (const auto& [key, value] : self.as_dict().entries) out.push_back(Value::tuple({key, value}));
  return Value::view(std::move(out), "dict_items");
}

Value copy(const Value& self, Arguments& a) {
  const Parameters p("copy", a, {});
  return self;
}

Value list_count(const Value& self, Arguments& a) {
  const Parameters p("count", a, {"value"});
  Int count = 0;
  for (const Value& item : self.items()) count += equal(item, p.required(0)) ? 1 : 0;
  return Value::integer(count);
}

Value list_index(const Value& self, Arguments& a) {
  const Parameters p("index", a, {"value", "start", "stop"});
  const auto size = static_cast<Int>(self.items().size());
  const auto clamp = [&](Int i) { return std::max<Int>(0, std::min(size, i < 0 ? i + size : i)); };
  for (Int i = clamp(p.integer(1, 0)); i < clamp(p.integer(2, size)); ++i) {
    if (equal(self.items()[static_cast<size_t>(i)], p.required(0))) return Value::integer(i);
  }
  throw Failure(to_repr(p.required(0)) + " is not in " + type_name(self));
}

Value bit_length(const Value& self, Arguments& a) {
  const Parameters p("bit_length", a, {});
  Int bits = 0;
  for (Int n = self.as_integer() < 0 ? -self.as_integer() : self.as_integer(); n != 0; n >>= 1) ++bits;
  return Value::integer(bits);
}

Value is_whole(const Value& self, Arguments& a) {
  const Parameters p("is_integer", a, {});
  return Value::boolean(std::isfinite(self.as_real()) && self.as_real() == std::floor(self.as_real()));
}

using Table = std::unordered_map<std::string_view, Method>;

const Table& table_of(Kind kind) {
  static const Table dict = {
      {"get", dict_get}, {"keys", dict_keys}, {"values", dict_values}, {"items", dict_items}, {"copy", copy}};
  static const Table list = {{"count", list_count}, {"index", list_index}, {"copy", copy}};
  static const Table tuple = {{"count", list_count}, {"index", list_index}};
  static const Table integer = {{"bit_length", bit_length}};
  static const Table real = {{"is_integer", is_whole}};
  static const Table none;
  switch (kind) {
    case Kind::string:
      return string_methods();
    case Kind::dict:
      return dict;
    case Kind::list:
      return list;
    case Kind::tuple:
    case Kind::range:
      return tuple;
    case Kind::boolean:
    case Kind::integer:
      return integer;
    case Kind::real:
      return real;
    default:
      return none;
  }
}

Method lookup(const Value& object, std::string_view name) {
  const Table& table = table_of(object.kind());
  const auto at = table.find(name);
  return at == table.end() ? nullptr : at->second;
}

}  // namespace

std::optional<Value> find_method(const Value& object, std::string_view name) {
  const Method method = lookup(object, name);
  if (method == nullptr) return std::nullopt;
  return make_callable(
      std::string(name), [object, method](Arguments& arguments) { return method(object, arguments); },
      "builtin_function_or_method", object.depth());
}

std::optional<Value> call_method(const Value& object, std::string_view name, Arguments& arguments) {
  const Method method = lookup(object, name);
  if (method == nullptr) return std::nullopt;
  return method(object, arguments);
}

Parameters::Parameters(std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names)
    : function_(function), names_(names), values_(names.size(), nullptr) {
  if (arguments.positional.size() > names_.size()) {
    throw Failure(function_ + "() takes at most " + std::to_string(names_.size()) + " arguments (" +
                  std::to_string(arguments.positional.size()) + " given)");
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    size_t i = 0;
    while (i < names_.size() && names_[i] != name) ++i;
    if (i == names_.size()) throw Failure(function_ + "() got an unexpected keyword argument '" + name + "'");
    if (values_[i] != nullptr) throw Failure(function_ + "() got multiple values for argument '" + name + "'");
    values_[i] = &value;
  }
}

const Value& Parameters::required(size_t i) const {
  if (values_[i] == nullptr)
    throw Failure(function_ + "() missing required argument: '" + std::string(names_[i]) + "'");
  return *values_[i];
}

const Value& Parameters::or_none(size_t i) const {
  static const Value none;
  return values_[i] != nullptr ? *values_[i] : none;
}

Int Parameters::integer(size_t i, Int otherwise) const {
  if (!given(i)) return otherwise;
  require_defined(*values_[i]);
  if (!values_[i]->is_integer()) {
    throw Failure(function_ + "(): '" + type_name(*values_[i]) + "' object cannot be interpreted as an integer");
  }
  return values_[i]->as_integer();
}

bool Parameters::boolean(size_t i, bool otherwise) const { return has(i) ? is_true(*values_[i]) : otherwise; }

std::string Parameters::text(size_t i, std::string otherwise) const {
  if (!given(i)) return otherwise;
  require_defined(*values_[i]);
  if (!values_[i]->is_string()) throw Failure(function_ + "(): must be str, not " + type_name(*values_[i]));
  return values_[i]->text();
}

size_t find_text(std::string_view text, std::string_view part, size_t from) {
  if (from > text.size()) return std::string::npos;
  if (part.empty()) return from;
  const void* at = memmem(text.data() + from, text.size() - from, part.data(), part.size());  // two-way: linear
  return at == nullptr ? std::string::npos : static_cast<size_t>(static_cast<const char*>(at) - text.data());
}

void append_checked(std::string& out, std::string_view part) {
  if (static_cast<int64_t>(out.size() + part.size()) > kMaxStringBytes) throw Failure("a string is longer than 64 MiB");
  out += part;
}

std::string replace_text(const std::string& text, const std::string& from, const std::string& to, Int count) {
  work_bytes(text.size());
  std::string out;
  size_t at = 0;
  if (from.empty()) {  // between all code points, and at both ends
    while (count != 0) {
      append_checked(out, to);
      --count;
      if (at >= text.size()) return out;
      const size_t start = at;
      next_code_point(text, at);
      append_checked(out, std::string_view(text).substr(start, at - start));
    }
    append_checked(out, std::string_view(text).substr(at));
    return out;
  }
  while (count != 0) {
    const size_t next = find_text(text, from, at);
    if (next == std::string::npos) break;
    append_checked(out, std::string_view(text).substr(at, next - at));
    append_checked(out, to);
    at = next + from.size();
    --count;
  }
  append_checked(out, std::string_view(text).substr(at));
  return out;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at;
    const char32_t c = next_code_point(text, at);
    if (!is_line_break(c)) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(start, (keep_ends ? at : end) - start));
    start = at;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

}  // namespace plimsoll::jinja
