// route_balance(segments (R) i32, labels (R) i32, loss_scale (1) f32, then of each mixture logits (R, E) f32 and
// experts (R, k) i32) -> loss (1) f32, slope (E) f32.
// The loss that keeps experts in even use: weight · E · Σₑ fₑ Pₑ, where fₑ is the share of tokens that go to expert e
// (all e together: k) and Pₑ the mean of its softmax, both over the tokens of all mixtures; padding (a negative
// segment) is left out. Fedus et al. 2022, arXiv:2101.03961, equations 4 to 6, over all layers at once as transformers
// has it. fₑ has no gradient; `slope` is dloss / d(softmax of expert e), the same for every token. A micro-batch has
// the share of its counted labels in the step: its loss is multiplied by loss_scale · (labels that are not -100).
// A term of the loss: its own gradient is one.   Saves: the logits, which route saves too.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef route_balance_def() {
  return {.kind = OpKind::route_balance,
          .name = "route_balance",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const auto& attrs = op.attributes<RouteBalanceAttrs>();
            const Shape& rows = operand(graph, op, 0).shape;
            expect(rows.rank() == 1 && operand(graph, op, 1).shape == rows, op, "segments and labels are (R)");
            expect(op.operands.size() >= 5 && op.operands.size() % 2 == 1, op, "logits and experts of each mixture");
            for (size_t i = 3; i < op.operands.size(); i += 2) {
              const Value& logits = operand(graph, op, i);
              expect(logits.dtype == DType::f32 && logits.shape == Shape{rows[0], attrs.experts}, op,
                     "logits are (R, E) f32");
              expect(operand(graph, op, i + 1).dtype == DType::i32 &&
                         operand(graph, op, i + 1).shape == Shape{rows[0], attrs.top_k},
                     op, "experts are (R, k) i32");
            }
            return {result_of("", DType::f32, {1}), result_of("slope", DType::f32, {attrs.experts})};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                for (size_t i = 3; i < op.operands.size(); i += 2) {
                  const ValueId logits = op.operands[i];
                  if (!builder.needs(logits)) continue;
                  builder.accumulate(logits,
                                     builder.add(OpKind::route_balance_grad, {op.results[1], op.operands[0], logits},
                                                 op.attrs, op, ".grad")[0],
                                     op);
                }
              },
          .flops =
              [](const Graph& graph, const Op& op) {
                return 4.0 * static_cast<double>(operand(graph, op, 3).shape.elements()) *
                       static_cast<double>((op.operands.size() - 3) / 2);
              }};
}

// route_balance_grad(slope (E), segments (R), logits (R, E)) -> dlogits (R, E)
OpDef route_balance_grad_def() {
  return {.kind = OpKind::route_balance_grad,
          .name = "route_balance_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& logits = operand(graph, op, 2);
            const auto& attrs = op.attributes<RouteBalanceAttrs>();
            return {result_of("", attrs.gradient_dtype.value_or(logits.dtype), logits.shape)};
          }};
}

}  // namespace plimsoll
