#include "data/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "data/jinja/methods.h"
#include "data/jinja/unicode.h"

namespace plimsoll::jinja {
namespace {

[[noreturn]] void fail_operands(std::string_view op, const Value& a, const Value& b) {
  throw Failure("unsupported operand type(s) for " + std::string(op) + ": '" + type_name(a) + "' and '" + type_name(b) +
                "'");
}

[[noreturn]] void fail_overflow() { throw Failure("an integer has more than 128 bits"); }

Value repeat(const Value& value, Int times) {
  times = std::max<Int>(times, 0);
  const auto check = [&](Int size, Int limit) {
    if (size > 0 && times > limit / size) throw Failure("a repeated value is too long");
  };
  if (value.is_string()) {
    const std::string& text = value.text();
    check(static_cast<Int>(text.size()), kMaxStringBytes);
    std::string out;
    if (!text.empty()) out.reserve(text.size() * static_cast<size_t>(times));
    for (Int i = 0; !text.empty() && i < times; ++i) out += text;
    return Value::string(std::move(out), value.is_markup());
  }
  check(static_cast<Int>(value.items().size()), 4'000'000);
  std::vector<Value> items;
  for (Int i = 0; !value.items().empty() && i < times; ++i)
    items.insert(items.end(), value.items().begin(), value.items().end());
  return value.is_list() ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

Value add(const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) {
    const bool markup = a.is_markup() || b.is_markup();
    const auto part = [&](const Value& v) { return markup && !v.is_markup() ? escape_html(v.text()) : v.text(); };
    return Value::string(part(a) + part(b), markup);
  }
  if (a.is_string()) throw Failure("can only concatenate str (not \"" + type_name(b) + "\") to str");
  if (a.is_list() || a.kind() == Kind::tuple) {
    if (a.kind() != b.kind()) {
      throw Failure("can only concatenate " + type_name(a) + " (not \"" + type_name(b) + "\") to " + type_name(a));
    }
    std::vector<Value> items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    return a.is_list() ? Value::list(std::move(items)) : Value::tuple(std::move(items));
  }
  fail_operands("+", a, b);
}

Int integer_power(Int base, Int exponent) {
  Int result = 1;
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  for (Int i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(result, base, &result)) fail_overflow();
  }
  return result;
}

Int floor_divide(Int a, Int b) {
  if (b == 0) throw Failure("integer division or modulo by zero");
  if (b == -1) {
    Int result = 0;
    if (__builtin_sub_overflow(Int{0}, a, &result)) fail_overflow();
    return result;
  }
  const Int quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

Value integer_arithmetic(std::string_view op, Int a, Int b) {
  Int result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "//") {
    result = floor_divide(a, b);
  } else if (op == "%") {
    if (b == 0) throw Failure("integer modulo by zero");
    result = b == -1 ? 0 : a - floor_divide(a, b) * b;
  } else if (op == "/") {
    if (b == 0) throw Failure("division by zero");
    return Value::real(static_cast<double>(a) / static_cast<double>(b));
  } else if (b < 0) {
    if (a == 0) throw Failure("0.0 cannot be raised to a negative power");
    return Value::real(std::pow(static_cast<double>(a), static_cast<double>(b)));
  } else {
    result = integer_power(a, b);
  }
  if (overflow) fail_overflow();
  return Value::integer(result);
}

Value real_arithmetic(std::string_view op, double a, double b) {
  if (op == "+") return Value::real(a + b);
  if (op == "-") return Value::real(a - b);
  if (op == "*") return Value::real(a * b);
  if (op == "**") {
    if (a == 0 && b < 0) throw Failure("0.0 cannot be raised to a negative power");
    if (a < 0 && b != std::floor(b)) throw Failure("complex numbers are not supported");
    const double result = std::pow(a, b);
    if (std::isinf(result) && !std::isinf(a) && !std::isinf(b)) throw Failure("Numerical result out of range");
    return Value::real(result);
  }
  if (b == 0)
    throw Failure(op == "/" ? "float division by zero" : op == "%" ? "float modulo" : "float floor division by zero");
  if (op == "/") return Value::real(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  if (op == "%") return Value::real(remainder == 0 ? std::copysign(0.0, b) : remainder);
  return Value::real(std::round((a - remainder) / b));
}

int64_t slice_bound(const Value& bound, int64_t length, int64_t otherwise, bool backward) {
  if (bound.is_none()) return otherwise;
  Int index = bound.as_integer();
  if (index < 0) index += length;
  const Int low = backward ? -1 : 0, high = backward ? length - 1 : length;
  return static_cast<int64_t>(std::clamp(index, low, high));
}

// A list cut by a[start:stop:step].
std::vector<Value> pick(const std::vector<Value>& items, int64_t start, int64_t stop, int64_t step) {
  std::vector<Value> out;
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    out.push_back(items[static_cast<size_t>(i)]);
    if ((step > 0 && stop - i <= step) || (step < 0 && i - stop <= -step)) break;  // i + step may overflow
  }
  return out;
}

std::string slice_text(const StringObject& string, int64_t start, int64_t stop, int64_t step) {
  if (step == 1) {
    if (start >= stop) return {};
    if (string.ascii) return string.text.substr(static_cast<size_t>(start), static_cast<size_t>(stop - start));
    const size_t begin = byte_offset(string.text, start);
    const std::string_view rest = std::string_view(string.text).substr(begin);
    return std::string(rest.substr(0, byte_offset(rest, stop - start)));
  }
  const std::u32string points = to_code_points(string.text);
  std::u32string out;
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    out += points[static_cast<size_t>(i)];
    if ((step > 0 && stop - i <= step) || (step < 0 && i - stop <= -step)) break;
  }
  return to_utf8(out);
}

Value undefined_item(const Value& object, const Value& key) {
  if (key.is_string()) return Value::undefined("'" + describe(object) + "' has no attribute " + to_repr(key));
  return Value::undefined(describe(object) + " has no element " + to_repr(key));
}

// Methods that would change a list or dict, which the sandbox forbids.
bool is_mutator(const Value& object, std::string_view name) {
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  static constexpr std::string_view kList[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
  if (object.is_dict()) return std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
  if (object.is_list()) return std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
  return false;
}

}  // namespace

Value apply_binary(std::string_view op, const Value& a, const Value& b) {
  if (op == "~") return Value::string(to_text(a) + to_text(b), a.is_markup() && b.is_markup());
  if (op == "%" && a.is_string()) return Value::string(format_percent(a.text(), b));
  require_defined(a);
  require_defined(b);
  if (a.is_integer() && b.is_integer()) return integer_arithmetic(op, a.as_integer(), b.as_integer());
  if (a.is_number() && b.is_number()) return real_arithmetic(op, a.as_real(), b.as_real());
  if (op == "+") return add(a, b);
  if (op == "*") {
    const auto repeats = [](const Value& v) { return v.is_string() || v.is_list() || v.kind() == Kind::tuple; };
    if (repeats(a) && b.is_integer()) return repeat(a, b.as_integer());
    if (repeats(b) && a.is_integer()) return repeat(b, a.as_integer());
  }
  fail_operands(op == "**" ? "** or pow()" : op, a, b);
}

Value negate(const Value& value) {
  require_defined(value);
  if (value.kind() == Kind::real) return Value::real(-value.as_real());
  if (!value.is_integer()) throw Failure("bad operand type for unary -: '" + type_name(value) + "'");
  return integer_arithmetic("-", 0, value.as_integer());
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      require_defined(item);
      throw Failure("'in <string>' requires string as left operand, not " + type_name(item));
    }
    const std::string &text = container.text(), &part = item.text();
    work_bytes(text.size());
    return find_text(text, part, 0) != std::string::npos;
  }
  if (container.is_dict()) return container.as_dict().find(item) != nullptr;
  if (!is_iterable(container)) throw Failure("argument of type '" + type_name(container) + "' is not iterable");
  auto next = iterate(container);
  for (Value other; next(other);) {
    if (equal(other, item)) return true;
  }
  return false;
}

bool apply_compare(std::string_view op, const Value& a, const Value& b) {
  if (op == "==") return equal(a, b);
  if (op == "!=") return !equal(a, b);
  if (op == "in") return contains(b, a);
  if (op == "not in") return !contains(b, a);
  require_defined(a);
  require_defined(b);
  if (a.is_number() && b.is_number() && (std::isnan(a.as_real()) || std::isnan(b.as_real()))) return false;
  const bool ordered = (a.is_number() && b.is_number()) || (a.is_string() && b.is_string()) ||
                       (a.kind() == b.kind() && (a.is_list() || a.kind() == Kind::tuple));
  if (!ordered) {
    throw Failure("'" + std::string(op) + "' not supported between instances of '" + type_name(a) + "' and '" +
                  type_name(b) + "'");
  }
  if (op == "<") return less(a, b);
  if (op == ">") return less(b, a);
  return op == "<=" ? !less(b, a) : !less(a, b);
}

Value get_slice(const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (!object.is_string() && !object.is_sequence()) {
    require_defined(object);
    return Value::undefined(describe(object) + " has no element slice");
  }
  for (const Value* bound : {&start, &stop, &step}) {
    if (!bound->is_none() && !bound->is_integer()) return Value::undefined("slice indices must be integers or None");
  }
  const auto length = static_cast<int64_t>(length_of(object));
  const Int wide_step = step.is_none() ? 1 : step.as_integer();
  if (wide_step == 0) throw Failure("slice step cannot be zero");
  const auto by = static_cast<int64_t>(std::clamp<Int>(wide_step, -(Int{1} << 62), Int{1} << 62));
  const bool backward = by < 0;
  const int64_t from = slice_bound(start, length, backward ? length - 1 : 0, backward);
  const int64_t to = slice_bound(stop, length, backward ? -1 : length, backward);
  if (object.is_string()) {
    const auto& string = *static_cast<StringObject*>(object.object());
    work_bytes(string.text.size());
    return Value::string(slice_text(string, from, to, by), string.markup);
  }
  if (object.kind() == Kind::view) return Value::undefined(describe(object) + " has no element slice");
  if (object.kind() == Kind::range) {
    const ListObject& range = object.as_list();
    return Value::range(range.start + from * range.step, range.start + to * range.step, range.step * by);
  }
  std::vector<Value> items = pick(object.items(), from, to, by);
  return object.is_list() ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

std::optional<Value> find_attribute(const Value& object, std::string_view name) {
  require_defined(object);
  const auto unsafe = [&] {
    return Value::undefined("access to attribute '" + std::string(name) + "' of '" + type_name(object) +
                            "' object is unsafe.");
  };
  if (name.size() > 4 && name.starts_with("__") && name.ends_with("__")) return unsafe();
  if (is_mutator(object, name)) return unsafe();
  if (object.kind() == Kind::name_space) {
    const Value* value = object.as_namespace().find(name);
    return value != nullptr ? std::optional<Value>(*value) : std::nullopt;
  }
  if (object.kind() == Kind::callable) {
    const CallableObject& callable = object.as_callable();
    return callable.attribute ? callable.attribute(name) : std::nullopt;
  }
  if (object.kind() == Kind::tuple && object.as_list().group) {
    if (name == "grouper") return object.items()[0];
    if (name == "list") return object.items()[1];
  }
  if (object.kind() == Kind::range) {
    const ListObject& range = object.as_list();
    if (name == "start") return Value::integer(range.start);
    if (name == "stop") return Value::integer(range.stop);
    if (name == "step") return Value::integer(range.step);
  }
  if (object.is_integer() && (name == "real" || name == "numerator")) return Value::integer(object.as_integer());
  if (object.is_integer() && (name == "imag" || name == "denominator")) return Value::integer(name == "imag" ? 0 : 1);
  return find_method(object, name);
}

Value get_attribute(const Value& object, std::string_view name) {
  if (std::optional<Value> value = find_attribute(object, name)) return std::move(*value);
  if (object.is_dict()) {
    if (const Value* value = object.as_dict().find(name)) return *value;
  }
  return Value::undefined("'" + describe(object) + "' has no attribute '" + std::string(name) + "'");
}

Value get_item(const Value& object, const Value& key) {
  require_defined(object);
  if (object.is_dict()) {
    const bool hashable = !key.is_list() && !key.is_dict();
    if (const Value* value = hashable ? object.as_dict().find(key) : nullptr) return *value;
  } else if (key.is_integer() && (object.is_string() || (object.is_sequence() && object.kind() != Kind::view))) {
    const Int length = length_of(object);
    const Int index = key.as_integer() < 0 ? key.as_integer() + length : key.as_integer();
    if (index < 0 || index >= length) return undefined_item(object, key);
    if (!object.is_string()) return object.items()[static_cast<size_t>(index)];
    const auto at = static_cast<int64_t>(index);
    const auto& string = *static_cast<StringObject*>(object.object());
    work_bytes(string.ascii ? 1 : string.text.size());
    return Value::string(slice_text(string, at, at + 1, 1), string.markup);
  }
  if (key.is_string()) {
    if (std::optional<Value> value = find_attribute(object, key.text())) return std::move(*value);
  }
  return undefined_item(object, key);
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace plimsoll::jinja
