// What the parser makes of a template: statements over expressions. Depth is bounded (kMaxNodeDepth).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/jinja/value.h"

namespace plimsoll::jinja {

enum class ExprKind : uint8_t {
  constant,   // constant
  name,       // text
  attribute,  // children[0].text
  item,       // children[0][children[1]]
  slice,      // children: start, stop, step; each may be null
  call,       // children[0](arguments)
  filter,     // children[0] | text(arguments); children[0] is null in {% filter %} and {% set x | … %}
  test,       // children[0] is text(arguments)
  list,
  tuple,  // children
  dict,   // children: key, value, key, value, …
  negate,
  plus,
  logical_not,
  logical_and,
  logical_or,
  binary,     // text: + - * / // % ** ~
  compare,    // children[0] operators[0] children[1] operators[1] …
  condition,  // children: condition, then, otherwise (null: undefined)
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallArgument {
  enum class Kind : uint8_t { positional, named, unpack_list, unpack_dict };
  Kind kind = Kind::positional;
  std::string name;
  ExprPtr value;
};

struct Expr {
  ExprKind kind;
  int line;
  int depth = 1;
  Value constant;
  std::string text;
  std::vector<ExprPtr> children;
  std::vector<std::string> operators;
  std::vector<CallArgument> arguments;
};

enum class StmtKind : uint8_t {
  data,          // text
  output,        // expr
  set,           // target = expr
  set_block,     // target = body, through the filters `expr` (or null)
  for_loop,      // for target in expr if condition: body, else otherwise
  if_chain,      // branches, else otherwise
  macro,         // text(signature): body
  call_block,    // expr (a call) with `caller` = body(signature)
  filter_block,  // body through the filters `expr`
  with,          // assignments, body
  block,         // text: body, in the template's own scope
  generation,    // body: what the assistant says
  break_loop,
  continue_loop,
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

struct Signature {
  std::vector<std::string> names;
  std::vector<ExprPtr> defaults;  // of the last names
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
};

struct Stmt {
  StmtKind kind;
  int line;
  std::string text;
  ExprPtr target, expr, condition;
  bool recursive = false;
  Body body, otherwise;
  std::vector<std::pair<ExprPtr, Body>> branches;
  std::vector<std::pair<ExprPtr, ExprPtr>> assignments;
  Signature signature;
};

struct Template {
  Body body;
  bool has_generation = false;
};

}  // namespace plimsoll::jinja
