// add(a, b) -> a + b, in place of the operand that dies here.   Saves: nothing.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef add_def() {
  return {.kind = OpKind::add,
          .name = "add",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& a = operand(graph, op, 0);
            expect(a.shape == operand(graph, op, 1).shape && a.dtype == operand(graph, op, 1).dtype, op,
                   "operands are alike");
            return {result_of("", a.dtype, a.shape)};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                for (const ValueId id : op.operands) builder.accumulate(id, builder.gradient_of(op.results[0]), op);
              },
          .flops = [](const Graph& graph,
                      const Op& op) { return static_cast<double>(operand(graph, op, 0).shape.elements()); },
          .reuse =
              [](const Op&, int) {
                return ReuseCandidates{0, 1};
              }};
}

}  // namespace plimsoll
