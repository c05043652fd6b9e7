// split_columns(x (R, W)) -> the first columns of each row, and the others: two projections that the checkpoint has as
// one. Saves: nothing; the copies are cheap to make again.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef split_columns_def() {
  return {.kind = OpKind::split_columns,
          .name = "split_columns",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const int64_t first = op.attributes<SplitColumnsAttrs>().first;
            const Value& x = operand(graph, op, 0);
            expect(x.shape.rank() == 2 && first > 0 && first < x.shape[1], op, "both parts have columns");
            return {result_of("", x.dtype, {x.shape[0], first}),
                    result_of("rest", x.dtype, {x.shape[0], x.shape[1] - first})};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                const ValueId x = op.operands[0];
                if (!builder.needs(x)) return;
                const ValueId dx = builder.add(OpKind::split_columns_grad,
                                               {builder.gradient_of(op.results[0]), builder.gradient_of(op.results[1])},
                                               op.attrs, op, ".grad")[0];
                builder.accumulate(x, dx, op);
              },
          .cheap = true,
          .all_results_cheap = true};
}

// split_columns_grad(da (R, first), db) -> dx (R, W)
OpDef split_columns_grad_def() {
  return {.kind = OpKind::split_columns_grad,
          .name = "split_columns_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& a = operand(graph, op, 0);
            const Value& b = operand(graph, op, 1);
            expect(a.shape[0] == b.shape[0] && a.shape[1] == op.attributes<SplitColumnsAttrs>().first, op,
                   "the parts have the rows of x");
            return {result_of("", a.dtype, {a.shape[0], a.shape[1] + b.shape[1]})};
          }};
}

}  // namespace plimsoll
