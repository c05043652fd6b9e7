// clamped_swiglu(gate_up (R, 2F), gate and up in turn) -> (R, F) = (up' + 1) · gate' · σ(alpha · gate'),
//   gate' = min(gate, limit), up' = clamp(up, -limit, limit).   gpt-oss: OpenAI 2025, arXiv:2508.10925.
// Saves: gate_up; the product is cheap to make again.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef clamped_swiglu_def() {
  return {.kind = OpKind::clamped_swiglu,
          .name = "clamped_swiglu",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& x = operand(graph, op, 0);
            expect(x.shape.rank() == 2 && x.shape[1] % 2 == 0, op, "gate_up is (R, 2F)");
            return {result_of("", x.dtype, {x.shape[0], x.shape[1] / 2})};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                if (!builder.needs(op.operands[0])) return;
                builder.accumulate(
                    op.operands[0],
                    builder.add(OpKind::clamped_swiglu_grad, {builder.gradient_of(op.results[0]), op.operands[0]},
                                op.attrs, op, ".grad")[0],
                    op);
              },
          .flops = [](const Graph& graph,
                      const Op& op) { return 5.0 * static_cast<double>(operand(graph, op, 0).shape.elements()); },
          .cheap = true};
}

// clamped_swiglu_grad(dy (R, F), gate_up) -> d gate_up, which may take over gate_up's buffer.
OpDef clamped_swiglu_grad_def() {
  return {.kind = OpKind::clamped_swiglu_grad,
          .name = "clamped_swiglu_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& x = operand(graph, op, 1);
            return {result_of("", x.dtype, x.shape)};
          },
          .flops = [](const Graph& graph,
                      const Op& op) { return 8.0 * static_cast<double>(operand(graph, op, 1).shape.elements()); },
          .reuse =
              [](const Op&, int) {
                return ReuseCandidates{1, -1};
              }};
}

}  // namespace plimsoll
