#include "data/jinja/evaluator.h"

#include "data/jinja/filters.h"
#include "data/jinja/loop.h"
#include "data/jinja/methods.h"
#include "data/jinja/operators.h"

namespace plimsoll::jinja {

Value Evaluator::evaluate(const Expr& e, const ScopePtr& scope) {
  const Deeper deeper(depth_);
  work(1);
  line_ = e.line;
  switch (e.kind) {
    case ExprKind::constant:
      return e.constant;
    case ExprKind::name:
      return evaluate_name(e, scope);
    case ExprKind::attribute:
      return attribute_of(evaluate(*e.children[0], scope), e.text);
    case ExprKind::item:
      return evaluate_item(e, scope);
    case ExprKind::slice:
      return evaluate_bare_slice(e, scope);
    case ExprKind::call:
      return evaluate_call(e, scope);
    case ExprKind::filter:
      return evaluate_filter(e, scope, Value());
    case ExprKind::test:
      return evaluate_test(e, scope);
    case ExprKind::list:
      return Value::list(evaluate_all(e, scope));
    case ExprKind::tuple:
      return Value::tuple(evaluate_all(e, scope));
    case ExprKind::dict:
      return evaluate_dict(e, scope);
    case ExprKind::negate:
      return negate(evaluate(*e.children[0], scope));
    case ExprKind::plus:
      return apply_binary("+", Value::integer(0), evaluate(*e.children[0], scope));
    case ExprKind::logical_not:
      return Value::boolean(!is_true(evaluate(*e.children[0], scope)));
    case ExprKind::logical_and:
    case ExprKind::logical_or:
      return evaluate_logical(e, scope);
    case ExprKind::binary:
      return evaluate_binary(e, scope);
    case ExprKind::compare:
      return evaluate_compare(e, scope);
    case ExprKind::condition:
      return evaluate_condition(e, scope);
  }
  return {};
}

Value Evaluator::evaluate_name(const Expr& e, const ScopePtr& scope) {
  const Value* value = scope->find(e.text);
  return value != nullptr ? *value : Value::undefined("'" + e.text + "' is undefined");
}

Value Evaluator::attribute_of(const Value& object, const std::string& name) {
  if (object.kind() == Kind::loop) {
    if (auto value = static_cast<LoopObject*>(object.object())->attribute(object, name)) return *value;
  }
  return get_attribute(object, name);
}

Value Evaluator::evaluate_item(const Expr& e, const ScopePtr& scope) {
  const Value object = evaluate(*e.children[0], scope);
  const Expr& key = *e.children[1];
  if (key.kind == ExprKind::slice) {
    const auto bound = [&](size_t i) { return key.children[i] ? evaluate(*key.children[i], scope) : Value(); };
    const Value start = bound(0), stop = bound(1), step = bound(2);
    line_ = e.line;
    return get_slice(object, start, stop, step);
  }
  const Value index = evaluate(key, scope);
  line_ = e.line;
  if (object.kind() == Kind::loop && index.is_string()) return attribute_of(object, index.text());
  return get_item(object, index);
}

Value Evaluator::evaluate_bare_slice(const Expr&, const ScopePtr&) {
  throw Failure("a slice is only allowed as the one subscript");
}

std::vector<Value> Evaluator::evaluate_all(const Expr& e, const ScopePtr& scope) {
  std::vector<Value> items;
  items.reserve(e.children.size());
  for (const ExprPtr& child : e.children) items.push_back(evaluate(*child, scope));
  return items;
}

Value Evaluator::evaluate_dict(const Expr& e, const ScopePtr& scope) {
  std::vector<std::pair<Value, Value>> entries;
  for (size_t i = 0; i + 1 < e.children.size(); i += 2) {
    Value key = evaluate(*e.children[i], scope);
    entries.emplace_back(std::move(key), evaluate(*e.children[i + 1], scope));
  }
  return Value::dict(std::move(entries));
}

Value Evaluator::evaluate_logical(const Expr& e, const ScopePtr& scope) {
  Value left = evaluate(*e.children[0], scope);
  return is_true(left) == (e.kind == ExprKind::logical_or) ? left : evaluate(*e.children[1], scope);
}

Value Evaluator::evaluate_binary(const Expr& e, const ScopePtr& scope) {
  const Value left = evaluate(*e.children[0], scope), right = evaluate(*e.children[1], scope);
  line_ = e.line;
  return apply_binary(e.text, left, right);
}

Value Evaluator::evaluate_compare(const Expr& e, const ScopePtr& scope) {
  Value left = evaluate(*e.children[0], scope);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    Value right = evaluate(*e.children[i + 1], scope);
    line_ = e.line;
    if (!apply_compare(e.operators[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Evaluator::evaluate_condition(const Expr& e, const ScopePtr& scope) {
  if (is_true(evaluate(*e.children[0], scope))) return evaluate(*e.children[1], scope);
  if (e.children[2]) return evaluate(*e.children[2], scope);
  return Value::undefined("the inline if-expression on line " + std::to_string(e.line) +
                          " evaluated to false and no else section was defined.");
}

Arguments Evaluator::evaluate_arguments(const Expr& e, const ScopePtr& scope) {
  Arguments out;
  for (const CallArgument& argument : e.arguments) {
    Value value = evaluate(*argument.value, scope);
    switch (argument.kind) {
      case CallArgument::Kind::positional:
        out.positional.push_back(std::move(value));
        break;
      case CallArgument::Kind::named:
        out.named.emplace_back(argument.name, std::move(value));
        break;
      case CallArgument::Kind::unpack_list:
        for (Value& item : to_vector(value)) out.positional.push_back(std::move(item));
        break;
      case CallArgument::Kind::unpack_dict:
        if (!value.is_dict()) throw Failure("argument after ** must be a mapping, not " + type_name(value));
        for (const auto& [key, item] : value.as_dict().entries) {
          if (!key.is_string()) throw Failure("keywords must be strings");
          out.named.emplace_back(key.text(), item);
        }
    }
  }
  line_ = e.line;
  return out;
}

Value Evaluator::evaluate_call(const Expr& e, const ScopePtr& scope) {
  const Expr& callee = *e.children[0];
  if (callee.kind == ExprKind::attribute) {  // a method: called without making a bound one first
    const Value object = evaluate(*callee.children[0], scope);
    if (object.is_string() || object.is_dict()) {
      Arguments arguments = evaluate_arguments(e, scope);
      if (std::optional<Value> result = call_method(object, callee.text, arguments)) return std::move(*result);
      return call(attribute_of(object, callee.text), arguments);
    }
    const Value function = attribute_of(object, callee.text);
    Arguments arguments = evaluate_arguments(e, scope);
    return call(function, arguments);
  }
  const Value function = evaluate(callee, scope);
  Arguments arguments = evaluate_arguments(e, scope);
  return call(function, arguments);
}

Value Evaluator::call(const Value& function, Arguments& arguments) {
  if (function.kind() == Kind::callable) return function.as_callable().call(arguments);
  if (function.kind() == Kind::loop) {
    const auto& loop = *static_cast<LoopObject*>(function.object());
    if (!loop.recurse) throw Failure("The loop must have the 'recursive' marker to be called recursively.");
    return loop.recurse(arguments);
  }
  require_defined(function);
  throw Failure("'" + type_name(function) + "' object is not callable");
}

Value Evaluator::evaluate_filter(const Expr& e, const ScopePtr& scope, const Value& input) {
  const Expr* inner = e.children[0].get();
  const Value value = inner == nullptr                  ? input
                      : inner->kind == ExprKind::filter ? evaluate_filter(*inner, scope, input)
                                                        : evaluate(*inner, scope);
  Arguments arguments = evaluate_arguments(e, scope);
  return apply_filter(e.text, value, arguments);
}

Value Evaluator::evaluate_test(const Expr& e, const ScopePtr& scope) {
  const Value value = evaluate(*e.children[0], scope);
  Arguments arguments = evaluate_arguments(e, scope);
  return Value::boolean(apply_test(e.text, value, arguments));
}

}  // namespace plimsoll::jinja
