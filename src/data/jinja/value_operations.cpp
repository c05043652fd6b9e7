// What is asked of a value of any kind: its type, truth, order, length and items.
#include <algorithm>

#include "data/jinja/unicode.h"
#include "data/jinja/value.h"

namespace plimsoll::jinja {

std::string type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::none:
      return "NoneType";
    case Kind::undefined:
      return "Undefined";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return value.is_markup() ? "Markup" : "str";
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      return value.as_list().type_name;
    case Kind::dict:
      return "dict";
    case Kind::generator:
      return "generator";
    case Kind::name_space:
      return "Namespace";
    case Kind::callable:
      return value.as_callable().type_name;
    case Kind::loop:
      return "LoopContext";
  }
  return "object";
}

std::string describe(const Value& value) {
  if (value.is_none()) return "None";
  switch (value.kind()) {
    case Kind::name_space:
      return "jinja2.utils.Namespace object";
    case Kind::loop:
      return "jinja2.runtime.LoopContext object";
    case Kind::callable:
      return (type_name(value) == "Macro" ? "jinja2.runtime.Macro" : type_name(value)) + std::string(" object");
    default:
      return type_name(value) + " object";
  }
}

std::string undefined_message(const Value& value) {
  const std::string& message = static_cast<UndefinedObject*>(value.object())->message;
  return message.empty() ? "value is undefined" : message;
}

void fail_undefined(const Value& value) { throw Failure(undefined_message(value)); }

bool is_true(const Value& value) {
  switch (value.kind()) {
    case Kind::none:
    case Kind::undefined:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.as_integer() != 0;
    case Kind::real:
      return value.as_real() != 0.0;
    case Kind::string:
      return !value.text().empty();
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      return !value.items().empty();
    case Kind::dict:
      return !value.as_dict().entries.empty();
    default:
      return true;
  }
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integer() && b.is_integer()) return a.as_integer() == b.as_integer();
    return a.as_real() == b.as_real();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::none:
    case Kind::undefined:
      return true;
    case Kind::string:
      work_bytes(std::min(a.text().size(), b.text().size()));
      return a.text() == b.text();
    case Kind::view:
      if (a.as_list().type_name != b.as_list().type_name) return false;
      [[fallthrough]];
    case Kind::list:
    case Kind::tuple:
    case Kind::range: {
      const auto &x = a.items(), &y = b.items();
      if (&x == &y) return true;
      if (x.size() != y.size()) return false;
      work(static_cast<int64_t>(x.size()));
      for (size_t i = 0; i < x.size(); ++i) {
        if (!equal(x[i], y[i])) return false;
      }
      return true;
    }
    case Kind::dict: {
      const DictObject &x = a.as_dict(), &y = b.as_dict();
      if (&x == &y) return true;
      if (x.entries.size() != y.entries.size()) return false;
      work(static_cast<int64_t>(x.entries.size()));
      return std::all_of(x.entries.begin(), x.entries.end(), [&](const auto& entry) {
        const Value* other = y.find(entry.first);
        return other != nullptr && equal(entry.second, *other);
      });
    }
    default:
      return a.object() == b.object();
  }
}

bool less(const Value& a, const Value& b) {
  require_defined(a);
  require_defined(b);
  if (a.is_number() && b.is_number()) {
    if (a.is_integer() && b.is_integer()) return a.as_integer() < b.as_integer();
    return a.as_real() < b.as_real();
  }
  if (a.is_string() && b.is_string()) {
    work_bytes(std::min(a.text().size(), b.text().size()));
    return a.text() < b.text();  // bytes of UTF-8 order as code points do
  }
  if (a.kind() == b.kind() && (a.is_list() || a.kind() == Kind::tuple)) {
    const auto &x = a.items(), &y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      work(1);
      if (!equal(x[i], y[i])) return less(x[i], y[i]);
    }
    return x.size() < y.size();
  }
  throw Failure("'<' not supported between instances of '" + type_name(a) + "' and '" + type_name(b) + "'");
}

Int length_of(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return 0;
    case Kind::string: {
      const auto& string = *static_cast<StringObject*>(value.object());
      if (string.ascii) return static_cast<Int>(string.text.size());
      work_bytes(string.text.size());
      return count_code_points(string.text);
    }
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      return static_cast<Int>(value.items().size());
    case Kind::dict:
      return static_cast<Int>(value.as_dict().entries.size());
    default:
      throw Failure("object of type '" + type_name(value) + "' has no len()");
  }
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is_sequence() || value.is_dict() ||
         value.kind() == Kind::generator || value.kind() == Kind::loop;
}

std::function<bool(Value&)> iterate(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return [](Value&) { return false; };
    case Kind::string:
      return [value, at = size_t{0}](Value& out) mutable {
        const std::string& text = value.text();
        if (at >= text.size()) return false;
        const size_t start = at;
        next_code_point(text, at);
        out = Value::string(text.substr(start, at - start));
        return true;
      };
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      return [value, at = size_t{0}](Value& out) mutable {
        if (at >= value.items().size()) return false;
        work(1);
        out = value.items()[at++];
        return true;
      };
    case Kind::dict:
      return [value, at = size_t{0}](Value& out) mutable {
        if (at >= value.as_dict().entries.size()) return false;
        work(1);
        out = value.as_dict().entries[at++].first;
        return true;
      };
    case Kind::generator:
      return [value](Value& out) {
        work(1);
        return value.as_generator().next(out);
      };
    default:
      throw Failure("'" + type_name(value) + "' object is not iterable");
  }
}

std::vector<Value> to_vector(const Value& value) {
  if (value.is_sequence()) {
    work(static_cast<int64_t>(value.items().size() / 4));
    return value.items();
  }
  std::vector<Value> out;
  auto next = iterate(value);
  for (Value item; next(item);) {
    out.push_back(item);
    // The vector is not a Value yet, so the meter does not see it.
    if (static_cast<int64_t>(out.size() * sizeof(Value)) > kMaxLiveBytes / 2) throw Failure("a list is too long");
  }
  return out;
}

}  // namespace plimsoll::jinja
