// Tokens → Template, by the grammar of Jinja 3.1 with loop controls and {% generation %}. Templates that need others
// (extends, include, import) and {% autoescape %} are refused by name.
#pragma once

#include <string_view>

#include "data/jinja/syntax/ast.h"

namespace plimsoll::jinja {

// Throws SyntaxFailure. Filters and tests are checked to exist, except behind a condition, as Jinja does.
Template parse_template(std::string_view source);

}  // namespace plimsoll::jinja
