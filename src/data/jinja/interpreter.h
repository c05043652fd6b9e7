// Runs a parsed template. One tree walk; scopes as Jinja's: bodies of for, macro, call, with, filter and block set have
// their own, if has none, and assignments inside do not leave them (namespaces do).
#pragma once

#include <cstdint>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "data/jinja/syntax/ast.h"

namespace plimsoll::jinja {

// A Failure at a line of the template.
class RenderFailure : public Failure {
 public:
  RenderFailure(int at_line, const std::string& message, bool by_template)
      : Failure(message), line(at_line), raised(by_template) {}
  int line;
  bool raised;  // by the template's own raise_exception
};

struct Rendered {
  std::string text;
  std::vector<std::pair<int64_t, int64_t>> generation_spans;  // bytes of text, in order, as {% generation %} marks them
};

// `variables` are what the template sees by name; `now` is the local time that strftime_now formats. Safe to call from
// several threads on one Template. Throws RenderFailure.
Rendered render(const Template& source, const std::vector<std::pair<std::string, Value>>& variables, const std::tm& now,
                const Limits& limits);

}  // namespace plimsoll::jinja
