// dropout(x) -> y: a share p of the elements becomes zero, the others are divided by 1 - p; in place where x dies here.
// Srivastava et al. 2014. Which ones is a function of seed, stream, micro-batch and place, so the gradient is the same
// op on dy. Saves: nothing; y is made again, no mask exists.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef dropout_def() {
  return {.kind = OpKind::dropout,
          .name = "dropout",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& x = operand(graph, op, 0);
            const double p = op.attributes<DropoutAttrs>().p;
            expect(p >= 0 && p < 1, op, "p is from 0 to below 1");
            return {result_of("", x.dtype, x.shape)};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                if (!builder.needs(op.operands[0])) return;
                const ValueId dy = builder.gradient_of(op.results[0]);
                builder.accumulate(op.operands[0], builder.add(OpKind::dropout, {dy}, op.attrs, op, ".grad")[0], op);
              },
          .flops = [](const Graph& graph,
                      const Op& op) { return 4.0 * static_cast<double>(operand(graph, op, 0).shape.elements()); },
          .reuse =
              [](const Op&, int) {
                return ReuseCandidates{0, -1};
              },
          .cheap = true};
}

}  // namespace plimsoll
