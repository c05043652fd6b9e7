// Jinja's tests: value is name(…).
#include <unordered_map>

#include "data/jinja/filters.h"
#include "data/jinja/methods.h"
#include "data/jinja/operators.h"
#include "data/jinja/unicode.h"

namespace plimsoll::jinja {
namespace {

using Test = bool (*)(const Value& value, Arguments& arguments);

template <Kind kKind>
bool is_kind(const Value& value, Arguments& a) {
  const Parameters p("test", a, {});
  return value.kind() == kKind;
}

const Value& other(Arguments& a) {
  const Parameters p("test", a, {"other"});
  return p.required(0);
}

template <size_t kIndex>
bool compare(const Value& value, Arguments& a) {
  static constexpr std::string_view kOperators[] = {"==", "!=", "<", "<=", ">", ">=", "in"};
  return apply_compare(kOperators[kIndex], value, other(a));
}

bool is_defined(const Value& value, Arguments& a) {
  const Parameters p("defined", a, {});
  return !value.is_undefined();
}

bool is_number(const Value& value, Arguments&) { return value.is_number(); }
bool is_true_value(const Value& value, Arguments&) { return value.kind() == Kind::boolean && value.as_boolean(); }
bool is_false_value(const Value& value, Arguments&) { return value.kind() == Kind::boolean && !value.as_boolean(); }
bool is_iterable_value(const Value& value, Arguments&) { return is_iterable(value); }
bool is_escaped(const Value& value, Arguments&) { return value.is_markup(); }
bool is_callable(const Value& value, Arguments&) {
  return value.kind() == Kind::callable || value.kind() == Kind::undefined || value.kind() == Kind::loop;
}

bool is_sequence(const Value& value, Arguments&) {
  return value.is_string() || value.is_dict() || value.is_undefined() ||
         (value.is_sequence() && value.kind() != Kind::view);
}

bool is_odd(const Value& value, Arguments&) {
  return equal(apply_binary("%", value, Value::integer(2)), Value::integer(1));
}
bool is_even(const Value& value, Arguments&) {
  return equal(apply_binary("%", value, Value::integer(2)), Value::integer(0));
}
bool divisible_by(const Value& value, Arguments& a) {
  return equal(apply_binary("%", value, other(a)), Value::integer(0));
}

bool is_upper_text(const Value& value, Arguments&) {
  Arguments none;
  return call_method(Value::string(to_text(value)), "isupper", none)->as_boolean();
}

bool is_lower_text(const Value& value, Arguments&) {
  Arguments none;
  return call_method(Value::string(to_text(value)), "islower", none)->as_boolean();
}

bool same_as(const Value& value, Arguments& a) {
  const Value& with = other(a);
  if (value.kind() != with.kind()) return false;
  if (value.object() != nullptr && with.object() != nullptr && !value.is_string())
    return value.object() == with.object();
  return equal(value, with);
}

bool names_filter(const Value& value, Arguments&) { return value.is_string() && is_filter(value.text()); }
bool names_test(const Value& value, Arguments&) { return value.is_string() && is_test(value.text()); }

const std::unordered_map<std::string_view, Test>& tests() {
  static const std::unordered_map<std::string_view, Test> table = {
      {"defined", is_defined},
      {"undefined", is_kind<Kind::undefined>},
      {"none", is_kind<Kind::none>},
      {"boolean", is_kind<Kind::boolean>},
      {"true", is_true_value},
      {"false", is_false_value},
      {"integer", is_kind<Kind::integer>},
      {"float", is_kind<Kind::real>},
      {"number", is_number},
      {"string", is_kind<Kind::string>},
      {"mapping", is_kind<Kind::dict>},
      {"sequence", is_sequence},
      {"iterable", is_iterable_value},
      {"callable", is_callable},
      {"escaped", is_escaped},
      {"odd", is_odd},
      {"even", is_even},
      {"divisibleby", divisible_by},
      {"upper", is_upper_text},
      {"lower", is_lower_text},
      {"sameas", same_as},
      {"filter", names_filter},
      {"test", names_test},
      {"==", compare<0>},
      {"eq", compare<0>},
      {"equalto", compare<0>},
      {"!=", compare<1>},
      {"ne", compare<1>},
      {"<", compare<2>},
      {"lt", compare<2>},
      {"lessthan", compare<2>},
      {"<=", compare<3>},
      {"le", compare<3>},
      {">", compare<4>},
      {"gt", compare<4>},
      {"greaterthan", compare<4>},
      {">=", compare<5>},
      {"ge", compare<5>},
      {"in", compare<6>},
  };
  return table;
}

}  // namespace

bool is_test(std::string_view name) { return tests().contains(name); }

bool apply_test(const std::string& name, const Value& input, Arguments& arguments) {
  const auto at = tests().find(name);
  if (at == tests().end()) throw Failure("No test named '" + name + "'.");
  return at->second(input, arguments);
}

}  // namespace plimsoll::jinja
