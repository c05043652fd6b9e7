#include <fmt/format.h>

#include "ops/op_def.h"

namespace plimsoll {

std::string print(const Graph& graph) {
  std::string text = fmt::format("graph {} ({} values, {} ops)\n", graph.phase, graph.values.size(), graph.ops.size());
  const auto describe = [&](ValueId id) {
    if (id == kNoValue) return std::string("-");
    const Value& value = graph.value(id);
    return value.producer < 0 ? value.name : fmt::format("%{}", id);
  };
  for (const Op& op : graph.ops) {
    std::string results;
    std::string types;
    for (const ValueId id : op.results) {
      const Value& value = graph.value(id);
      results += fmt::format("{}%{}", results.empty() ? "" : ", ", id);
      types += fmt::format("{}{} {}", types.empty() ? "" : ", ", dtype_name(value.dtype), to_string(value.shape));
    }
    std::string operands;
    for (const ValueId id : op.operands) operands += (operands.empty() ? "" : ", ") + describe(id);
    text += fmt::format("  {}{}{}({}){}{}  {}  [{}]\n", results, results.empty() ? "" : " = ", name_of(op.kind),
                        operands, types.empty() ? "" : " : ", types, op.name, name_of(op.role));
  }
  return text;
}

}  // namespace plimsoll
