// The expression half of the parser (parser.h): a token cursor and one function a level of precedence.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/jinja/syntax/ast.h"
#include "data/jinja/syntax/lexer.h"

namespace plimsoll::jinja {

class ExpressionParser {
 protected:
  struct SpecialNames {
    bool varargs = false, kwargs = false, caller = false;
  };

  // Bounds how deep the parser calls itself.
  class DepthGuard {
   public:
    explicit DepthGuard(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.depth_ > kMaxNodeDepth) parser_.fail("the template is nested too deeply");
    }
    ~DepthGuard() { --parser_.depth_; }
    DepthGuard(const DepthGuard&) = delete;
    DepthGuard& operator=(const DepthGuard&) = delete;

   private:
    ExpressionParser& parser_;
  };

  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& following() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  const Token& take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  [[noreturn]] void fail(const std::string& message) const { throw SyntaxFailure(current().line, message); }
  bool is_op(std::string_view op) const { return current().kind == TokenKind::op && current().text == op; }
  bool is_name(std::string_view name) const { return current().kind == TokenKind::name && current().text == name; }
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  const Token& expect(TokenKind kind, std::string_view what);
  void expect_op(std::string_view op);
  void expect_name(std::string_view name);

  ExprPtr parse_expression(bool with_condition = true);
  // One expression, or several with commas between them: a tuple. `end` is a name that may follow.
  ExprPtr parse_tuple(bool with_condition = true, std::string_view end = {}, bool parenthesized = false);
  ExprPtr parse_target(bool with_namespace, std::string_view end);
  ExprPtr parse_name_target();
  ExprPtr parse_filters(ExprPtr value, bool start_inline = false);

  SpecialNames special_names_;

 private:
  ExprPtr make(ExprKind kind, int line) const;
  void add_child(Expr& parent, ExprPtr child) const;
  void add_argument(Expr& parent, CallArgument argument) const;
  ExprPtr make_binary(std::string op, ExprPtr left, ExprPtr right, int line) const;

  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filters);
  ExprPtr parse_primary();
  ExprPtr parse_name(const Token& token);
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr value);
  ExprPtr parse_filters_and_tests(ExprPtr value);
  ExprPtr parse_subscript(ExprPtr value);
  ExprPtr parse_subscripted();
  ExprPtr parse_test(ExprPtr value);
  void parse_arguments(Expr& call);
  ExprPtr parse_call(ExprPtr callee);
  bool at_tuple_end(std::string_view end) const;

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace plimsoll::jinja
