// What follows a value: subscripts, calls, filters, tests.
#include <algorithm>
#include <utility>

#include "data/jinja/syntax/parser_expressions.h"

namespace plimsoll::jinja {

ExprPtr ExpressionParser::parse_postfix(ExprPtr value) {
  while (true) {
    if (is_op(".") || is_op("[")) {
      value = parse_subscript(std::move(value));
    } else if (is_op("(")) {
      value = parse_call(std::move(value));
    } else {
      return value;
    }
  }
}

ExprPtr ExpressionParser::parse_filters_and_tests(ExprPtr value) {
  while (true) {
    if (is_op("|")) {
      value = parse_filters(std::move(value));
    } else if (is_name("is")) {
      value = parse_test(std::move(value));
    } else if (is_op("(")) {
      value = parse_call(std::move(value));
    } else {
      return value;
    }
  }
}

ExprPtr ExpressionParser::parse_subscript(ExprPtr value) {
  ExprPtr expr = make(ExprKind::item, current().line);
  add_child(*expr, std::move(value));
  if (skip_op(".")) {
    if (current().kind == TokenKind::name) {
      expr->kind = ExprKind::attribute;
      expr->text = take().text;
      return expr;
    }
    if (current().kind != TokenKind::integer) fail("expected name or number");
    ExprPtr index = make(ExprKind::constant, current().line);
    index->constant = Value::integer(take().integer);
    add_child(*expr, std::move(index));
    return expr;
  }
  const int line = take().line;
  ExprPtr keys = make(ExprKind::tuple, line);
  while (!is_op("]")) {
    if (!keys->children.empty()) expect_op(",");
    add_child(*keys, parse_subscripted());
  }
  take();
  add_child(*expr, keys->children.size() == 1 ? std::move(keys->children[0]) : std::move(keys));
  return expr;
}

ExprPtr ExpressionParser::parse_subscripted() {
  ExprPtr slice = make(ExprKind::slice, current().line);
  const auto at_end = [&] { return is_op("]") || is_op(",") || is_op(":"); };
  ExprPtr start = is_op(":") ? nullptr : parse_expression();
  if (!is_op(":")) return start;
  add_child(*slice, std::move(start));
  take();
  add_child(*slice, at_end() ? nullptr : parse_expression());
  add_child(*slice, skip_op(":") && !at_end() ? parse_expression() : nullptr);
  return slice;
}

void ExpressionParser::parse_arguments(Expr& call) {
  const int line = current().line;
  const auto ensure = [&](bool condition) {
    if (!condition) throw SyntaxFailure(line, "invalid syntax for function call expression");
  };
  using Kind = CallArgument::Kind;
  const auto has = [&](Kind kind) {
    return std::any_of(call.arguments.begin(), call.arguments.end(), [&](const auto& a) { return a.kind == kind; });
  };
  expect_op("(");
  bool first = true;
  while (!is_op(")")) {
    if (!first) {
      expect_op(",");
      if (is_op(")")) break;
    }
    first = false;
    CallArgument argument;
    if (skip_op("*")) {
      ensure(!has(Kind::unpack_list) && !has(Kind::unpack_dict));
      argument.kind = Kind::unpack_list;
    } else if (skip_op("**")) {
      ensure(!has(Kind::unpack_dict));
      argument.kind = Kind::unpack_dict;
    } else if (current().kind == TokenKind::name && following().kind == TokenKind::op && following().text == "=") {
      ensure(!has(Kind::unpack_dict));
      argument.kind = Kind::named;
      argument.name = take().text;
      take();
    } else {
      ensure(!has(Kind::unpack_list) && !has(Kind::unpack_dict) && !has(Kind::named));
    }
    argument.value = parse_expression();
    add_argument(call, std::move(argument));
  }
  take();
}

ExprPtr ExpressionParser::parse_call(ExprPtr callee) {
  ExprPtr expr = make(ExprKind::call, current().line);
  add_child(*expr, std::move(callee));
  parse_arguments(*expr);
  return expr;
}

ExprPtr ExpressionParser::parse_filters(ExprPtr value, bool start_inline) {
  while (start_inline || is_op("|")) {
    if (!start_inline) take();
    start_inline = false;
    const Token& token = expect(TokenKind::name, "name");
    ExprPtr expr = make(ExprKind::filter, token.line);
    expr->text = token.text;
    while (skip_op(".")) expr->text += "." + expect(TokenKind::name, "name").text;
    add_child(*expr, std::move(value));
    if (is_op("(")) parse_arguments(*expr);
    value = std::move(expr);
  }
  return value;
}

ExprPtr ExpressionParser::parse_test(ExprPtr value) {
  const int line = take().line;
  const bool negated = skip_name("not");
  ExprPtr expr = make(ExprKind::test, line);
  expr->text = expect(TokenKind::name, "name").text;
  while (skip_op(".")) expr->text += "." + expect(TokenKind::name, "name").text;
  add_child(*expr, std::move(value));
  const TokenKind kind = current().kind;
  const bool operand = kind == TokenKind::name || kind == TokenKind::string || kind == TokenKind::integer ||
                       kind == TokenKind::real || is_op("[") || is_op("{");
  if (is_op("(")) {
    parse_arguments(*expr);
  } else if (operand && !is_name("else") && !is_name("or") && !is_name("and")) {
    if (is_name("is")) fail("You cannot chain multiple tests with is");
    CallArgument argument;
    argument.value = parse_postfix(parse_primary());
    add_argument(*expr, std::move(argument));
  }
  if (!negated) return expr;
  ExprPtr inverse = make(ExprKind::logical_not, line);
  add_child(*inverse, std::move(expr));
  return inverse;
}

}  // namespace plimsoll::jinja
