// scale(x) -> factor · x, in place where x dies here.   Granite's multipliers of residuals and logits.
// Saves: nothing.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef scale_def() {
  return {.kind = OpKind::scale,
          .name = "scale",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& x = operand(graph, op, 0);
            return {result_of("", x.dtype, x.shape)};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                if (!builder.needs(op.operands[0])) return;
                const ValueId dy = builder.gradient_of(op.results[0]);
                builder.accumulate(op.operands[0], builder.add(OpKind::scale, {dy}, op.attrs, op, ".grad")[0], op);
              },
          .flops = [](const Graph& graph,
                      const Op& op) { return static_cast<double>(operand(graph, op, 0).shape.elements()); },
          .reuse =
              [](const Op&, int) {
                return ReuseCandidates{0, -1};
              }};
}

}  // namespace plimsoll
