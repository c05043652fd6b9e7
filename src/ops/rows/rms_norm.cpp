// rms_norm(x (R, H), weight (H)) -> y (R, H), rstd (R) f32.   Zhang and Sennrich 2019, arXiv:1910.07467.
// Saves: x and one number per row; y is cheap to make again.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef rms_norm_def() {
  return {
      .kind = OpKind::rms_norm,
      .name = "rms_norm",
      .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
        const Value& x = operand(graph, op, 0);
        const Value& weight = operand(graph, op, 1);
        expect(x.shape.rank() == 2 && weight.shape.rank() == 1, op, "x is (R, H), weight (H)");
        // Per-head norms see (R, heads · H) as (R · heads, H).
        expect(x.shape[1] % weight.shape[0] == 0, op, "weight divides the row");
        return {result_of("", x.dtype, x.shape), result_of("rstd", DType::f32, {x.shape.elements() / weight.shape[0]})};
      },
      .gradient =
          [](GradientBuilder& builder, const Op& op) {
            const ValueId x = op.operands[0];
            const ValueId accumulator = builder.accumulator(op.operands[1]);
            if (!builder.needs(x) && accumulator == kNoValue) return;
            const ValueId dx = builder.add(OpKind::rms_norm_grad,
                                           {builder.gradient_of(op.results[0]), x, op.operands[1], op.results[1],
                                            builder.gradient_of(x), accumulator},
                                           op.attrs, op, ".grad")[0];
            if (builder.needs(x)) builder.set_gradient(x, dx);
          },
      .flops = [](const Graph& graph,
                  const Op& op) { return 4.0 * static_cast<double>(operand(graph, op, 0).shape.elements()); },
      .cheap = true};
}

// rms_norm_grad(dy, x, weight, rstd, [addend (R, H)], [weight accumulator (H) f32, updated]) -> dx = addend + …
OpDef rms_norm_grad_def() {
  return {.kind = OpKind::rms_norm_grad,
          .name = "rms_norm_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& x = operand(graph, op, 1);
            expect(operand(graph, op, 0).shape == x.shape, op, "dy is as x");
            if (has_operand(op, 4)) expect(operand(graph, op, 4).shape == x.shape, op, "the addend is as x");
            return {result_of("", x.dtype, x.shape)};
          },
          .flops = [](const Graph& graph,
                      const Op& op) { return 8.0 * static_cast<double>(operand(graph, op, 1).shape.elements()); },
          .reuse =
              [](const Op& op, int) {
                return ReuseCandidates{has_operand(op, 4) ? 4 : -1, -1};
              },
          .mutates = [](const Op&, int index) { return index == 5; }};
}

}  // namespace plimsoll
