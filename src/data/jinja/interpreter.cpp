#include "data/jinja/interpreter.h"

#include <algorithm>

#include "data/jinja/evaluator.h"
#include "data/jinja/filters.h"
#include "data/jinja/loop.h"
#include "data/jinja/methods.h"
#include "data/jinja/operators.h"
#include "data/jinja/scope.h"

namespace plimsoll::jinja {
namespace {

// Statements; what they compute with is the Evaluator's.
class Interpreter : private Evaluator {
 public:
  Interpreter(const std::tm& now, const Limits& limits) : limits_(limits) {
    globals_ = make_globals(now, [this](const Value& value) { namespaces_.push_back(value); });
  }

  // Namespaces and macros can hold themselves through the scopes they live in, or be long chains; emptying each kept
  // scope and namespace one by one frees them.
  ~Interpreter() {
    for (const Value& value : namespaces_) value.as_namespace().entries.clear();
    for (const ScopePtr& scope : kept_scopes_) scope->variables.clear();
  }
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  Rendered run(const Template& source, const std::vector<std::pair<std::string, Value>>& variables) {
    root_ = std::make_shared<Scope>(globals_);
    for (const auto& [name, value] : variables) root_->set(name, value);
    Rendered result;
    spans_ = &result.generation_spans;
    output_ = root_output_ = &result.text;
    try {
      run_body(source.body, root_);
    } catch (const RaisedFailure& failure) {
      throw RenderFailure(line_, failure.what(), true);
    } catch (const Failure& failure) {
      throw RenderFailure(line_, failure.what(), false);
    }
    const auto size = static_cast<int64_t>(result.text.size());
    for (auto& [begin, end] : result.generation_spans) {
      begin = std::min(begin, size);
      end = std::min(end, size);
    }
    return result;
  }

 private:
  enum class Flow : uint8_t { normal, stop, next };

  void write(std::string_view text) {
    work_bytes(text.size());
    if (static_cast<int64_t>(output_->size() + text.size()) > limits_.output_bytes) {
      throw Failure("the text is longer than " + std::to_string(limits_.output_bytes) + " bytes");
    }
    output_->append(text);
  }

  // What `body` writes, instead of writing it.
  std::string capture(const Body& body, const ScopePtr& scope) {
    std::string text;
    std::string* const outer = std::exchange(output_, &text);
    try {
      run_body(body, scope);
    } catch (...) {
      output_ = outer;
      throw;
    }
    output_ = outer;
    return text;
  }

  static ScopePtr inside(const ScopePtr& scope) { return std::make_shared<Scope>(scope); }

  // --- statements ---------------------------------------------------------------------------------------------------

  Flow run_body(const Body& body, const ScopePtr& scope) {
    for (const StmtPtr& statement : body) {
      const Flow flow = run_statement(*statement, scope);
      if (flow != Flow::normal) return flow;
    }
    return Flow::normal;
  }

  Flow run_statement(const Stmt& s, const ScopePtr& scope) {
    const Deeper deeper(depth_);
    work(1);
    line_ = s.line;
    switch (s.kind) {
      case StmtKind::data:
        write(s.text);
        break;
      case StmtKind::output:
        run_output(s, scope);
        break;
      case StmtKind::set:
        assign(*s.target, evaluate(*s.expr, scope), scope);
        break;
      case StmtKind::set_block:
        run_set_block(s, scope);
        break;
      case StmtKind::for_loop:
        run_for(s, evaluate(*s.expr, scope), scope, 0);
        break;
      case StmtKind::if_chain:
        return run_if(s, scope);
      case StmtKind::macro:
        define_macro(s, scope);
        break;
      case StmtKind::call_block:
        run_call_block(s, scope);
        break;
      case StmtKind::filter_block:
        write(to_text(evaluate_filter(*s.expr, scope, filter_input(s, scope))));
        break;
      case StmtKind::with:
        return run_with(s, scope);
      case StmtKind::block:
        run_body(s.body, inside(root_));
        break;
      case StmtKind::generation:
        run_generation(s, scope);
        break;
      case StmtKind::break_loop:
        return Flow::stop;
      case StmtKind::continue_loop:
        return Flow::next;
    }
    return Flow::normal;
  }

  void run_output(const Stmt& s, const ScopePtr& scope) {
    const Value value = evaluate(*s.expr, scope);
    if (value.is_string()) {
      write(value.text());
    } else {
      write(to_text(value));
    }
  }

  Flow run_if(const Stmt& s, const ScopePtr& scope) {
    for (const auto& [condition, body] : s.branches) {
      if (is_true(evaluate(*condition, scope))) return run_body(body, scope);
    }
    return run_body(s.otherwise, scope);
  }

  Value filter_input(const Stmt& s, const ScopePtr& scope) { return Value::string(capture(s.body, inside(scope))); }

  void run_set_block(const Stmt& s, const ScopePtr& scope) {
    Value value = filter_input(s, scope);
    if (s.expr) value = evaluate_filter(*s.expr, scope, value);
    assign(*s.target, std::move(value), scope);
  }

  Flow run_with(const Stmt& s, const ScopePtr& scope) {
    const ScopePtr inner = inside(scope);
    for (const auto& [target, value] : s.assignments) assign(*target, evaluate(*value, scope), inner);
    return run_body(s.body, inner);
  }

  void run_generation(const Stmt& s, const ScopePtr& scope) {
    const std::string text = capture(s.body, inside(scope));
    const auto begin = static_cast<int64_t>(root_output_->size());
    spans_->emplace_back(begin, begin + static_cast<int64_t>(text.size()));
    write(text);
  }

  void assign(const Expr& target, Value value, const ScopePtr& scope) {
    if (target.kind == ExprKind::name) {
      scope->set(target.text, std::move(value));
    } else if (target.kind == ExprKind::attribute) {
      const Value holder = evaluate(*target.children[0], scope);
      if (holder.kind() != Kind::name_space) throw Failure("cannot assign attribute on non-namespace object");
      if (target.text.starts_with('_')) {
        throw Failure("Chat templates cannot store underscore-prefixed attributes on a namespace, but got '" +
                      target.text + "'. Please rename the attribute.");
      }
      holder.as_namespace().set(target.text, std::move(value));
    } else {
      require_defined(value);
      const std::vector<Value> items = to_vector(value);
      if (items.size() != target.children.size()) {
        throw Failure(items.size() > target.children.size()
                          ? "too many values to unpack (expected " + std::to_string(target.children.size()) + ")"
                          : "not enough values to unpack (expected " + std::to_string(target.children.size()) +
                                ", got " + std::to_string(items.size()) + ")");
      }
      for (size_t i = 0; i < items.size(); ++i) assign(*target.children[i], items[i], scope);
    }
  }

  // Items of the loop that fulfil its condition.
  std::function<bool(Value&)> filtered(const Stmt& s, std::function<bool(Value&)> next, const ScopePtr& scope) {
    return [this, &s, next = std::move(next), scope](Value& out) {
      while (next(out)) {
        const ScopePtr inner = inside(scope);
        assign(*s.target, out, inner);
        if (is_true(evaluate(*s.condition, inner))) return true;
      }
      return false;
    };
  }

  void run_for(const Stmt& s, const Value& iterable, const ScopePtr& scope, Int depth0) {
    line_ = s.line;
    std::function<bool(Value&)> next = iterate(iterable);
    const bool sized = !s.condition && iterable.kind() != Kind::generator;
    const Int length = sized ? length_of(iterable) : -1;
    if (s.condition || s.recursive) keep(scope);
    if (s.condition) next = filtered(s, std::move(next), scope);
    auto* loop = new LoopObject(std::move(next), iterable.depth(), length, depth0);
    const Value loop_value = Value::object(Kind::loop, loop);
    if (s.recursive) {
      loop->recurse = [this, &s, scope, depth0](Arguments& a) {
        const Parameters p("loop", a, {"iterable"});
        const Deeper deeper(depth_);
        std::string text;
        std::string* const outer = std::exchange(output_, &text);
        try {
          run_for(s, p.required(0), scope, depth0 + 1);
        } catch (...) {
          output_ = outer;
          throw;
        }
        output_ = outer;
        return Value::string(std::move(text));
      };
    }
    bool completed = false;  // Jinja runs `else` also when every round was left by break or continue
    while (loop->advance()) {
      const ScopePtr inner = inside(scope);
      assign(*s.target, loop->current, inner);
      inner->set("loop", loop_value);
      const Flow flow = run_body(s.body, inner);
      if (flow == Flow::stop) break;
      completed |= flow == Flow::normal;
    }
    if (!completed && !s.otherwise.empty()) run_body(s.otherwise, inside(scope));
  }

  // --- macros -------------------------------------------------------------------------------------------------------

  // For scopes that a value refers to.
  void keep(const ScopePtr& scope) {
    if (kept_scopes_.empty() || kept_scopes_.back() != scope) kept_scopes_.push_back(scope);
  }

  Value make_macro(const Stmt& s, const std::string& name, const ScopePtr& scope) {
    keep(scope);
    Value macro = make_callable(
        name, [this, &s, name, scope](Arguments& a) { return call_macro(s, name, scope, a); }, "Macro");
    static_cast<CallableObject*>(macro.object())->attribute =
        [&s, name](std::string_view attribute) -> std::optional<Value> {
      if (attribute == "name") return Value::string(name);
      if (attribute == "catch_kwargs") return Value::boolean(s.signature.uses_kwargs);
      if (attribute == "catch_varargs") return Value::boolean(s.signature.uses_varargs);
      if (attribute == "caller") return Value::boolean(s.signature.uses_caller);
      if (attribute != "arguments") return std::nullopt;
      std::vector<Value> names;
      for (const std::string& argument : s.signature.names) names.push_back(Value::string(argument));
      return Value::tuple(std::move(names));
    };
    return macro;
  }

  void define_macro(const Stmt& s, const ScopePtr& scope) { scope->set(s.text, make_macro(s, s.text, scope)); }

  void run_call_block(const Stmt& s, const ScopePtr& scope) {
    const Value callee = evaluate(*s.expr->children[0], scope);
    Arguments arguments = evaluate_arguments(*s.expr, scope);
    arguments.named.emplace_back("caller", make_macro(s, "caller", scope));
    write(to_text(call(callee, arguments)));
  }

  // Binds the arguments by the rules of jinja2.runtime.Macro and gives what the body writes.
  Value call_macro(const Stmt& s, const std::string& name, const ScopePtr& scope, Arguments& a) {
    const Deeper deeper(depth_);
    const Signature& signature = s.signature;
    const ScopePtr inner = inside(scope);
    const size_t count = signature.names.size();
    const auto take_named = [&](const std::string& key) -> std::optional<Value> {
      const auto at = std::find_if(a.named.begin(), a.named.end(), [&](const auto& n) { return n.first == key; });
      if (at == a.named.end()) return std::nullopt;
      Value value = std::move(at->second);
      a.named.erase(at);
      return value;
    };
    const size_t first_default = count - signature.defaults.size();
    bool explicit_caller = false;
    std::vector<std::optional<Value>> values(count);
    for (size_t i = 0; i < count; ++i) {
      explicit_caller |= signature.names[i] == "caller";
      values[i] = i < a.positional.size() ? std::optional<Value>(a.positional[i]) : take_named(signature.names[i]);
    }
    if (signature.uses_caller && !explicit_caller) {
      const std::optional<Value> caller = take_named("caller");
      inner->set("caller", caller ? *caller : Value::undefined("No caller defined"));
    }
    if (signature.uses_kwargs) {
      std::vector<std::pair<Value, Value>> entries;
      for (auto& [key, value] : a.named) entries.emplace_back(Value::string(key), value);
      inner->set("kwargs", Value::dict(std::move(entries)));
    } else if (!a.named.empty()) {
      throw Failure("macro '" + name + "' takes no keyword argument '" + a.named[0].first + "'");
    }
    if (signature.uses_varargs) {
      const size_t used = std::min(count, a.positional.size());
      inner->set("varargs", Value::tuple({a.positional.begin() + static_cast<ptrdiff_t>(used), a.positional.end()}));
    } else if (a.positional.size() > count) {
      throw Failure("macro '" + name + "' takes not more than " + std::to_string(count) + " argument(s)");
    }
    for (size_t i = 0; i < count; ++i) {
      if (values[i]) {
        inner->set(signature.names[i], std::move(*values[i]));
      } else if (i >= first_default) {
        inner->set(signature.names[i], evaluate(*signature.defaults[i - first_default], inner));
      } else {
        inner->set(signature.names[i], Value::undefined("parameter '" + signature.names[i] + "' was not provided"));
      }
    }
    return Value::string(capture(s.body, inner));
  }

  const Limits& limits_;
  ScopePtr globals_, root_;
  std::vector<Value> namespaces_;
  std::vector<ScopePtr> kept_scopes_;
  std::vector<std::pair<int64_t, int64_t>>* spans_ = nullptr;
  std::string* output_ = nullptr;
  std::string* root_output_ = nullptr;
};

}  // namespace

Rendered render(const Template& source, const std::vector<std::pair<std::string, Value>>& variables, const std::tm& now,
                const Limits& limits) {
  const StepLimit steps(limits.steps);
  try {
    return Interpreter(now, limits).run(source, variables);
  } catch (const RenderFailure&) {
    throw;
  } catch (const Failure& failure) {  // before the first line ran
    throw RenderFailure(1, failure.what(), false);
  }
}

}  // namespace plimsoll::jinja
