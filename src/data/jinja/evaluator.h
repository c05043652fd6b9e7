// The value of an expression of a template. Statements, which run bodies and write text, are the interpreter's; macros
// and loops reach back to it as values that can be called.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/jinja/methods.h"
#include "data/jinja/scope.h"
#include "data/jinja/syntax/ast.h"

namespace plimsoll::jinja {

using ScopePtr = std::shared_ptr<Scope>;

// Throws Failure; line_ is then the line of the template that is being computed.
class Evaluator {
 protected:
  class Deeper {
   public:
    explicit Deeper(int& depth) : depth_(depth) {
      if (++depth_ > kMaxCallDepth) {
        --depth_;
        throw Failure("the template calls itself too deeply");
      }
    }
    ~Deeper() { --depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    int& depth_;
  };

  Value evaluate(const Expr& e, const ScopePtr& scope);
  Arguments evaluate_arguments(const Expr& e, const ScopePtr& scope);
  // `input` goes in at the open end of a filter chain ({% filter %}, {% set x | … %}).
  Value evaluate_filter(const Expr& e, const ScopePtr& scope, const Value& input);
  static Value call(const Value& function, Arguments& arguments);

  int depth_ = 0;
  int line_ = 1;

 private:
  Value evaluate_name(const Expr& e, const ScopePtr& scope);
  static Value attribute_of(const Value& object, const std::string& name);
  Value evaluate_item(const Expr& e, const ScopePtr& scope);
  Value evaluate_bare_slice(const Expr&, const ScopePtr&);
  std::vector<Value> evaluate_all(const Expr& e, const ScopePtr& scope);
  Value evaluate_dict(const Expr& e, const ScopePtr& scope);
  Value evaluate_logical(const Expr& e, const ScopePtr& scope);
  Value evaluate_binary(const Expr& e, const ScopePtr& scope);
  Value evaluate_compare(const Expr& e, const ScopePtr& scope);
  Value evaluate_condition(const Expr& e, const ScopePtr& scope);
  Value evaluate_call(const Expr& e, const ScopePtr& scope);
  Value evaluate_test(const Expr& e, const ScopePtr& scope);
};

}  // namespace plimsoll::jinja
