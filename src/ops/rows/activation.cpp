// activation(x (R, F)) -> act(x), element by element: the MLP without a gate (GPT-2, OPT, …).
// GELU: Hendrycks and Gimpel 2016, arXiv:1606.08415; squared ReLU: So et al. 2021, arXiv:2109.08668.
// Saves: x; the result is cheap to make again.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef activation_def() {
  return {.kind = OpKind::activation,
          .name = "activation",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& x = operand(graph, op, 0);
            return {result_of("", x.dtype, x.shape)};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                if (!builder.needs(op.operands[0])) return;
                builder.accumulate(
                    op.operands[0],
                    builder.add(OpKind::activation_grad, {builder.gradient_of(op.results[0]), op.operands[0]}, op.attrs,
                                op, ".grad")[0],
                    op);
              },
          .flops = [](const Graph& graph,
                      const Op& op) { return 8.0 * static_cast<double>(operand(graph, op, 0).shape.elements()); },
          .reuse =
              [](const Op&, int) {
                return ReuseCandidates{0, -1};
              },
          .cheap = true};
}

// activation_grad(dy, x) -> dx, in place of x or dy where that dies here.
OpDef activation_grad_def() {
  return {.kind = OpKind::activation_grad,
          .name = "activation_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& x = operand(graph, op, 1);
            expect(operand(graph, op, 0).shape == x.shape, op, "dy is as x");
            return {result_of("", x.dtype, x.shape)};
          },
          .flops = [](const Graph& graph,
                      const Op& op) { return 12.0 * static_cast<double>(operand(graph, op, 1).shape.elements()); },
          .reuse =
              [](const Op&, int) {
                return ReuseCandidates{1, 0};
              }};
}

}  // namespace plimsoll
