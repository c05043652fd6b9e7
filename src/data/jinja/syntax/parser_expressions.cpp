#include "data/jinja/syntax/parser_expressions.h"

#include <algorithm>
#include <utility>

namespace plimsoll::jinja {
namespace {

std::string describe_token(const Token& token) {
  switch (token.kind) {
    case TokenKind::data:
      return "template data / text";
    case TokenKind::block_begin:
      return "begin of statement block";
    case TokenKind::block_end:
      return "end of statement block";
    case TokenKind::variable_begin:
      return "begin of print statement";
    case TokenKind::variable_end:
      return "end of print statement";
    case TokenKind::name:
    case TokenKind::op:
      return token.text;
    case TokenKind::string:
      return "string";
    case TokenKind::integer:
      return "integer";
    case TokenKind::real:
      return "float";
    case TokenKind::end:
      return "end of template";
  }
  return {};
}

}  // namespace

bool ExpressionParser::skip_op(std::string_view op) {
  if (!is_op(op)) return false;
  take();
  return true;
}

bool ExpressionParser::skip_name(std::string_view name) {
  if (!is_name(name)) return false;
  take();
  return true;
}

const Token& ExpressionParser::expect(TokenKind kind, std::string_view what) {
  if (current().kind == kind) return take();
  if (current().kind == TokenKind::end) fail("unexpected end of template, expected '" + std::string(what) + "'.");
  fail("expected token '" + std::string(what) + "', got '" + describe_token(current()) + "'");
}

void ExpressionParser::expect_op(std::string_view op) {
  if (!skip_op(op)) expect(static_cast<TokenKind>(-1), op);
}

void ExpressionParser::expect_name(std::string_view name) {
  if (!skip_name(name)) expect(static_cast<TokenKind>(-1), name);
}

ExprPtr ExpressionParser::make(ExprKind kind, int line) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

// Chains such as a + b + c and x.y.z nest without the parser calling itself, so their depth is bounded here.
void ExpressionParser::add_child(Expr& parent, ExprPtr child) const {
  if (child) {
    parent.depth = std::max(parent.depth, child->depth + 1);
    if (parent.depth > kMaxNodeDepth) throw SyntaxFailure(parent.line, "an expression is nested too deeply");
  }
  parent.children.push_back(std::move(child));
}

void ExpressionParser::add_argument(Expr& parent, CallArgument argument) const {
  parent.depth = std::max(parent.depth, argument.value->depth + 1);
  if (parent.depth > kMaxNodeDepth) throw SyntaxFailure(parent.line, "an expression is nested too deeply");
  parent.arguments.push_back(std::move(argument));
}

ExprPtr ExpressionParser::make_binary(std::string op, ExprPtr left, ExprPtr right, int line) const {
  ExprPtr expr = make(ExprKind::binary, line);
  expr->text = std::move(op);
  add_child(*expr, std::move(left));
  add_child(*expr, std::move(right));
  return expr;
}

// --- from the loosest to the tightest binding -----------------------------------------------------------------------

ExprPtr ExpressionParser::parse_expression(bool with_condition) {
  const DepthGuard guard(*this);
  ExprPtr value = parse_or();
  while (with_condition && is_name("if")) {
    ExprPtr expr = make(ExprKind::condition, take().line);
    add_child(*expr, parse_or());
    add_child(*expr, std::move(value));
    add_child(*expr, skip_name("else") ? parse_expression() : nullptr);
    value = std::move(expr);
  }
  return value;
}

ExprPtr ExpressionParser::parse_or() {
  ExprPtr left = parse_and();
  while (is_name("or")) {
    ExprPtr expr = make(ExprKind::logical_or, take().line);
    add_child(*expr, std::move(left));
    add_child(*expr, parse_and());
    left = std::move(expr);
  }
  return left;
}

ExprPtr ExpressionParser::parse_and() {
  ExprPtr left = parse_not();
  while (is_name("and")) {
    ExprPtr expr = make(ExprKind::logical_and, take().line);
    add_child(*expr, std::move(left));
    add_child(*expr, parse_not());
    left = std::move(expr);
  }
  return left;
}

ExprPtr ExpressionParser::parse_not() {
  if (!is_name("not")) return parse_compare();
  const DepthGuard guard(*this);
  ExprPtr expr = make(ExprKind::logical_not, take().line);
  add_child(*expr, parse_not());
  return expr;
}

ExprPtr ExpressionParser::parse_compare() {
  static constexpr std::string_view kOperators[] = {"==", "!=", "<", "<=", ">", ">="};
  ExprPtr first = parse_sum();
  ExprPtr expr;
  while (true) {
    std::string op;
    if (current().kind == TokenKind::op &&
        std::find(std::begin(kOperators), std::end(kOperators), current().text) != std::end(kOperators)) {
      op = current().text;
    } else if (is_name("in")) {
      op = "in";
    } else if (is_name("not") && following().kind == TokenKind::name && following().text == "in") {
      take();
      op = "not in";
    } else {
      return expr ? std::move(expr) : std::move(first);
    }
    if (!expr) {
      expr = make(ExprKind::compare, current().line);
      add_child(*expr, std::move(first));
    }
    take();
    expr->operators.push_back(op);
    add_child(*expr, parse_sum());
  }
}

ExprPtr ExpressionParser::parse_sum() {
  ExprPtr left = parse_concat();
  while (is_op("+") || is_op("-")) {
    const Token op = take();
    left = make_binary(op.text, std::move(left), parse_concat(), op.line);
  }
  return left;
}

ExprPtr ExpressionParser::parse_concat() {
  ExprPtr left = parse_product();
  while (is_op("~")) {
    const int line = take().line;
    left = make_binary("~", std::move(left), parse_product(), line);
  }
  return left;
}

ExprPtr ExpressionParser::parse_product() {
  ExprPtr left = parse_power();
  while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
    const Token op = take();
    left = make_binary(op.text, std::move(left), parse_power(), op.line);
  }
  return left;
}

ExprPtr ExpressionParser::parse_power() {
  ExprPtr left = parse_unary(true);
  while (is_op("**")) {
    const int line = take().line;
    left = make_binary("**", std::move(left), parse_unary(true), line);
  }
  return left;
}

ExprPtr ExpressionParser::parse_unary(bool with_filters) {
  const DepthGuard guard(*this);
  ExprPtr value;
  if (is_op("-") || is_op("+")) {
    const Token op = take();
    value = make(op.text == "-" ? ExprKind::negate : ExprKind::plus, op.line);
    add_child(*value, parse_unary(false));
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filters ? parse_filters_and_tests(std::move(value)) : std::move(value);
}

ExprPtr ExpressionParser::parse_name(const Token& token) {
  ExprPtr expr = make(ExprKind::constant, token.line);
  const std::string& name = token.text;
  if (name == "true" || name == "True") {
    expr->constant = Value::boolean(true);
  } else if (name == "false" || name == "False") {
    expr->constant = Value::boolean(false);
  } else if (name != "none" && name != "None") {
    expr->kind = ExprKind::name;
    expr->text = name;
    special_names_.varargs |= name == "varargs";
    special_names_.kwargs |= name == "kwargs";
    special_names_.caller |= name == "caller";
  }
  return expr;
}

ExprPtr ExpressionParser::parse_primary() {
  const Token& token = current();
  ExprPtr expr = make(ExprKind::constant, token.line);
  switch (token.kind) {
    case TokenKind::name:
      return parse_name(take());
    case TokenKind::string: {
      std::string text;
      while (current().kind == TokenKind::string) text += take().text;
      expr->constant = Value::string(std::move(text));
      return expr;
    }
    case TokenKind::integer:
      expr->constant = Value::integer(take().integer);
      return expr;
    case TokenKind::real:
      expr->constant = Value::real(take().real);
      return expr;
    default:
      break;
  }
  if (skip_op("(")) {
    expr = parse_tuple(true, {}, true);
    expect_op(")");
    return expr;
  }
  if (is_op("[")) return parse_list();
  if (is_op("{")) return parse_dict();
  fail("unexpected '" + describe_token(token) + "'");
}

bool ExpressionParser::at_tuple_end(std::string_view end) const {
  return current().kind == TokenKind::variable_end || current().kind == TokenKind::block_end || is_op(")") ||
         (!end.empty() && is_name(end));
}

ExprPtr ExpressionParser::parse_tuple(bool with_condition, std::string_view end, bool parenthesized) {
  ExprPtr tuple = make(ExprKind::tuple, current().line);
  bool commas = false;
  while (!at_tuple_end(end)) {
    add_child(*tuple, parse_expression(with_condition));
    if (!skip_op(",")) break;
    commas = true;
  }
  if (!commas && tuple->children.size() == 1) return std::move(tuple->children[0]);
  if (!commas && !parenthesized) fail("Expected an expression, got '" + describe_token(current()) + "'");
  return tuple;
}

ExprPtr ExpressionParser::parse_list() {
  ExprPtr list = make(ExprKind::list, take().line);
  while (!is_op("]")) {
    if (!list->children.empty()) expect_op(",");
    if (is_op("]")) break;
    add_child(*list, parse_expression());
  }
  take();
  return list;
}

ExprPtr ExpressionParser::parse_dict() {
  ExprPtr dict = make(ExprKind::dict, take().line);
  while (!is_op("}")) {
    if (!dict->children.empty()) expect_op(",");
    if (is_op("}")) break;
    add_child(*dict, parse_expression());
    expect_op(":");
    add_child(*dict, parse_expression());
  }
  take();
  return dict;
}

// --- targets of set, for, with, macro -------------------------------------------------------------------------------

ExprPtr ExpressionParser::parse_name_target() {
  const Token& token = expect(TokenKind::name, "name");
  static constexpr std::string_view kReserved[] = {"true", "false", "none", "True", "False", "None", "loop",
                                                   "not",  "and",   "or",   "in",   "is",    "if",   "else"};
  // "loop" may be set outside of loops only in Jinja; nobody does, and it is always a mistake.
  if (std::find(std::begin(kReserved), std::end(kReserved), token.text) != std::end(kReserved)) {
    throw SyntaxFailure(token.line, "can't assign to '" + token.text + "'");
  }
  ExprPtr expr = make(ExprKind::name, token.line);
  expr->text = token.text;
  return expr;
}

ExprPtr ExpressionParser::parse_target(bool with_namespace, std::string_view end) {
  const DepthGuard guard(*this);
  ExprPtr tuple = make(ExprKind::tuple, current().line);
  bool commas = false;
  while (!at_tuple_end(end)) {
    if (skip_op("(")) {
      add_child(*tuple, parse_target(with_namespace, {}));
      expect_op(")");
    } else {
      ExprPtr name = parse_name_target();
      if (with_namespace && skip_op(".")) {
        ExprPtr attribute = make(ExprKind::attribute, name->line);
        attribute->text = expect(TokenKind::name, "name").text;
        add_child(*attribute, std::move(name));
        name = std::move(attribute);
      }
      add_child(*tuple, std::move(name));
    }
    if (!skip_op(",")) break;
    commas = true;
  }
  if (tuple->children.empty()) fail("Expected an expression, got '" + describe_token(current()) + "'");
  return commas ? std::move(tuple) : std::move(tuple->children[0]);
}

}  // namespace plimsoll::jinja
