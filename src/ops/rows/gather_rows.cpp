// gather_rows(x (R, H)) -> (1, H): the row that the run names (the last token of a prompt).
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef gather_rows_def() {
  return {.kind = OpKind::gather_rows,
          .name = "gather_rows",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& x = operand(graph, op, 0);
            return {result_of("", x.dtype, {1, x.shape[1]})};
          }};
}

}  // namespace plimsoll
