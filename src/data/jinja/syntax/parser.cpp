#include "data/jinja/syntax/parser.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "data/jinja/filters.h"
#include "data/jinja/syntax/lexer.h"
#include "data/jinja/syntax/parser_expressions.h"

namespace plimsoll::jinja {
namespace {

class Parser : private ExpressionParser {
 public:
  explicit Parser(std::vector<Token> tokens) : ExpressionParser(std::move(tokens)) {}

  Template run() {
    Template result;
    result.body = parse_body({});
    result.has_generation = has_generation_;
    return result;
  }

 private:
  using Ends = std::initializer_list<std::string_view>;

  // Statements up to a tag of `ends`, whose name is then the current token; to the end of the template without ends.
  Body parse_body(Ends ends) {
    const DepthGuard guard(*this);
    Body body;
    while (current().kind != TokenKind::end) {
      const int line = current().line;
      if (current().kind == TokenKind::data) {
        body.push_back(make(StmtKind::data, line));
        body.back()->text = take().text;
      } else if (current().kind == TokenKind::variable_begin) {
        take();
        body.push_back(make(StmtKind::output, line));
        body.back()->expr = parse_tuple();
        expect(TokenKind::variable_end, "end of print statement");
      } else {
        take();
        if (current().kind == TokenKind::name && std::find(ends.begin(), ends.end(), current().text) != ends.end()) {
          return body;
        }
        body.push_back(parse_statement(ends));
        expect(TokenKind::block_end, "end of statement block");
      }
    }
    if (ends.size() > 0) {
      throw SyntaxFailure(current().line, "Unexpected end of template. Jinja was looking for " + list_of(ends));
    }
    return body;
  }

  static std::string list_of(Ends ends) {
    std::string text;
    for (const std::string_view end : ends) text += (text.empty() ? "'" : " or '") + std::string(end) + "'";
    return text;
  }

  static StmtPtr make(StmtKind kind, int line) {
    auto statement = std::make_unique<Stmt>();
    statement->kind = kind;
    statement->line = line;
    return statement;
  }

  // A body whose text is captured; break and continue do not lead out of it.
  Body parse_captured_body(Ends ends) {
    const int loops = std::exchange(loops_, 0);
    Body body = parse_block_body(ends);
    loops_ = loops;
    take();
    return body;
  }

  Body parse_block_body(Ends ends) {
    skip_op(":");
    expect(TokenKind::block_end, "end of statement block");
    return parse_body(ends);
  }

  StmtPtr parse_statement(Ends ends) {
    if (current().kind != TokenKind::name) fail("tag name expected");
    const std::string tag = current().text;
    const int line = take().line;
    if (tag == "set") return parse_set(line);
    if (tag == "if") return parse_if(line);
    if (tag == "for") return parse_for(line);
    if (tag == "macro") return parse_macro(line);
    if (tag == "call") return parse_call_block(line);
    if (tag == "filter") return parse_filter_block(line);
    if (tag == "with") return parse_with(line);
    if (tag == "block") return parse_named_block(line);
    if (tag == "generation") {
      auto statement = make(StmtKind::generation, line);
      statement->body = parse_captured_body({"endgeneration"});
      has_generation_ = true;
      return statement;
    }
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) throw SyntaxFailure(line, "'" + tag + "' outside of a loop");
      return make(tag == "break" ? StmtKind::break_loop : StmtKind::continue_loop, line);
    }
    if (tag == "extends" || tag == "include" || tag == "import" || tag == "from") {
      throw SyntaxFailure(line, "the tag '" + tag + "' needs other templates, which a chat template does not have");
    }
    if (tag == "autoescape") throw SyntaxFailure(line, "the tag 'autoescape' is not supported");
    throw SyntaxFailure(line, "Encountered unknown tag '" + tag + "'." +
                                  (ends.size() > 0 ? " Jinja was looking for " + list_of(ends) + "." : ""));
  }

  StmtPtr parse_set(int line) {
    auto statement = make(StmtKind::set, line);
    statement->target = parse_target(true, {});
    if (skip_op("=")) {
      statement->expr = parse_tuple();
      return statement;
    }
    statement->kind = StmtKind::set_block;
    statement->expr = parse_filters(nullptr);
    statement->body = parse_captured_body({"endset"});
    return statement;
  }

  StmtPtr parse_if(int line) {
    auto statement = make(StmtKind::if_chain, line);
    while (true) {
      ExprPtr condition = parse_tuple(false);
      Body body = parse_block_body({"elif", "else", "endif"});
      statement->branches.emplace_back(std::move(condition), std::move(body));
      const std::string tag = take().text;
      if (tag == "elif") continue;
      if (tag == "else") {
        statement->otherwise = parse_block_body({"endif"});
        take();
      }
      return statement;
    }
  }

  StmtPtr parse_for(int line) {
    auto statement = make(StmtKind::for_loop, line);
    statement->target = parse_target(false, "in");
    expect_name("in");
    statement->expr = parse_tuple(false, "recursive");
    if (skip_name("if")) statement->condition = parse_expression();
    statement->recursive = skip_name("recursive");
    ++loops_;
    statement->body = parse_block_body({"endfor", "else"});
    --loops_;
    if (take().text == "else") {
      statement->otherwise = parse_block_body({"endfor"});
      take();
    }
    return statement;
  }

  void parse_signature(Signature& signature) {
    expect_op("(");
    while (!is_op(")")) {
      if (!signature.names.empty()) expect_op(",");
      ExprPtr name = parse_name_target();
      signature.names.push_back(name->text);
      if (skip_op("=")) {
        signature.defaults.push_back(parse_expression());
      } else if (!signature.defaults.empty()) {
        fail("non-default argument follows default argument");
      }
    }
    take();
  }

  // The body of a macro or call block; notes which of the special names it reads.
  void parse_macro_body(Stmt& statement, Ends ends) {
    const SpecialNames outer = std::exchange(special_names_, {});
    statement.body = parse_captured_body(ends);
    statement.signature.uses_varargs = special_names_.varargs;
    statement.signature.uses_kwargs = special_names_.kwargs;
    statement.signature.uses_caller = special_names_.caller;
    special_names_ = outer;
  }

  StmtPtr parse_macro(int line) {
    auto statement = make(StmtKind::macro, line);
    statement->text = parse_name_target()->text;
    parse_signature(statement->signature);
    parse_macro_body(*statement, {"endmacro"});
    return statement;
  }

  StmtPtr parse_call_block(int line) {
    auto statement = make(StmtKind::call_block, line);
    if (is_op("(")) parse_signature(statement->signature);
    statement->expr = parse_expression();
    if (statement->expr->kind != ExprKind::call) throw SyntaxFailure(line, "expected call");
    parse_macro_body(*statement, {"endcall"});
    return statement;
  }

  StmtPtr parse_filter_block(int line) {
    auto statement = make(StmtKind::filter_block, line);
    statement->expr = parse_filters(nullptr, true);
    statement->body = parse_captured_body({"endfilter"});
    return statement;
  }

  StmtPtr parse_with(int line) {
    auto statement = make(StmtKind::with, line);
    while (current().kind != TokenKind::block_end) {
      if (!statement->assignments.empty()) expect_op(",");
      ExprPtr target = parse_target(false, {});
      expect_op("=");
      statement->assignments.emplace_back(std::move(target), parse_expression());
    }
    statement->body = parse_block_body({"endwith"});
    take();
    return statement;
  }

  StmtPtr parse_named_block(int line) {
    auto statement = make(StmtKind::block, line);
    statement->text = expect(TokenKind::name, "name").text;
    skip_name("scoped");
    skip_name("required");
    statement->body = parse_captured_body({"endblock"});
    skip_name(statement->text);
    return statement;
  }

  int loops_ = 0;
  bool has_generation_ = false;
};

// --- do the filters and tests exist? --------------------------------------------------------------------------------

void check_names(const Expr* expr, bool soft) {
  if (expr == nullptr) return;
  if (!soft && expr->kind == ExprKind::filter && !is_filter(expr->text)) {
    throw SyntaxFailure(expr->line, "No filter named '" + expr->text + "'.");
  }
  if (!soft && expr->kind == ExprKind::test && !is_test(expr->text)) {
    throw SyntaxFailure(expr->line, "No test named '" + expr->text + "'.");
  }
  const bool inside = soft || expr->kind == ExprKind::condition;
  for (const ExprPtr& child : expr->children) check_names(child.get(), inside);
  for (const CallArgument& argument : expr->arguments) check_names(argument.value.get(), inside);
}

void check_names(const Body& body, bool soft) {
  for (const StmtPtr& statement : body) {
    const bool inside = soft || statement->kind == StmtKind::if_chain;
    for (const auto* expr : {&statement->target, &statement->expr, &statement->condition}) {
      check_names(expr->get(), inside);
    }
    for (const auto& [condition, branch] : statement->branches) {
      check_names(condition.get(), true);
      check_names(branch, true);
    }
    for (const auto& [target, value] : statement->assignments) check_names(value.get(), inside);
    for (const ExprPtr& value : statement->signature.defaults) check_names(value.get(), inside);
    check_names(statement->body, inside);
    check_names(statement->otherwise, inside);
  }
}

}  // namespace

Template parse_template(std::string_view source) {
  Template result = Parser(tokenize(source)).run();
  check_names(result.body, false);
  return result;
}

}  // namespace plimsoll::jinja
