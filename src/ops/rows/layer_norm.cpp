// layer_norm(x (R, H), [weight (H)], [bias (H)]) -> y (R, H), mean_rstd (R, 2) f32.   Ba et al. 2016, arXiv:1607.06450.
// Rows are (R · heads, head_dim) where weight is shorter than a row: a norm of each head.
// Saves: x and two numbers per row; y is cheap to make again.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {
namespace {

ValueId optional_operand(const Op& op, size_t index) { return has_operand(op, index) ? op.operands[index] : kNoValue; }

}  // namespace

OpDef layer_norm_def() {
  return {
      .kind = OpKind::layer_norm,
      .name = "layer_norm",
      .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
        const Value& x = operand(graph, op, 0);
        expect(x.shape.rank() == 2, op, "x is (R, H)");
        int64_t width = x.shape[1];
        if (has_operand(op, 1)) {
          const Value& weight = operand(graph, op, 1);
          expect(weight.shape.rank() == 1 && width % weight.shape[0] == 0, op, "weight divides the row");
          width = weight.shape[0];
        }
        if (has_operand(op, 2)) expect(operand(graph, op, 2).shape == Shape{width}, op, "bias is as weight");
        return {result_of("", x.dtype, x.shape), result_of("mean_rstd", DType::f32, {x.shape.elements() / width, 2})};
      },
      .gradient =
          [](GradientBuilder& builder, const Op& op) {
            const ValueId x = op.operands[0], weight = optional_operand(op, 1), bias = optional_operand(op, 2);
            const ValueId weight_sum = builder.accumulator(weight), bias_sum = builder.accumulator(bias);
            if (!builder.needs(x) && weight_sum == kNoValue && bias_sum == kNoValue) return;
            const ValueId dx = builder.add(OpKind::layer_norm_grad,
                                           {builder.gradient_of(op.results[0]), x, weight, op.results[1],
                                            builder.gradient_of(x), weight_sum, bias_sum},
                                           op.attrs, op, ".grad")[0];
            if (builder.needs(x)) builder.set_gradient(x, dx);
          },
      .flops = [](const Graph& graph,
                  const Op& op) { return 7.0 * static_cast<double>(operand(graph, op, 0).shape.elements()); },
      .cheap = true};
}

// layer_norm_grad(dy, x, [weight], mean_rstd, [addend (R, H)], [weight accumulator (H) f32, updated],
//                 [bias accumulator (H) f32, updated]) -> dx = addend + …
OpDef layer_norm_grad_def() {
  return {.kind = OpKind::layer_norm_grad,
          .name = "layer_norm_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& x = operand(graph, op, 1);
            expect(operand(graph, op, 0).shape == x.shape, op, "dy is as x");
            if (has_operand(op, 4)) expect(operand(graph, op, 4).shape == x.shape, op, "the addend is as x");
            return {result_of("", x.dtype, x.shape)};
          },
          .flops = [](const Graph& graph,
                      const Op& op) { return 12.0 * static_cast<double>(operand(graph, op, 1).shape.elements()); },
          .reuse =
              [](const Op& op, int) {
                return ReuseCandidates{has_operand(op, 4) ? 4 : -1, -1};
              },
          .mutates = [](const Op&, int index) { return index == 5 || index == 6; }};
}

}  // namespace plimsoll
