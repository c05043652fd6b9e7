// expert_gather(x (R, H), slots (R, k) i32) -> (R · k, H): each row k times, sorted by expert (see route).
// Saves: nothing but the slots; the copy is cheap to make again.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef expert_gather_def() {
  return {.kind = OpKind::expert_gather,
          .name = "expert_gather",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& x = operand(graph, op, 0);
            const Value& slots = operand(graph, op, 1);
            expect(slots.dtype == DType::i32 && slots.shape[0] == x.shape[0], op, "slots are (R, k) i32");
            return {result_of("", x.dtype, {slots.shape.elements(), x.shape[1]})};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                const ValueId x = op.operands[0];
                if (!builder.needs(x)) return;
                const ValueId dy = builder.gradient_of(op.results[0]);
                builder.set_gradient(x, builder.add(OpKind::expert_gather_grad,
                                                    {dy, op.operands[1], builder.gradient_of(x)}, {}, op, ".grad")[0]);
              },
          .cheap = true};
}

// expert_gather_grad(dy (R · k, H), slots, [addend (R, H)]) -> dx (R, H) = addend + the sum over a row's k copies
OpDef expert_gather_grad_def() {
  return {.kind = OpKind::expert_gather_grad,
          .name = "expert_gather_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& dy = operand(graph, op, 0);
            const Shape shape{operand(graph, op, 1).shape[0], dy.shape[1]};
            if (has_operand(op, 2)) expect(operand(graph, op, 2).shape == shape, op, "the addend is as x");
            return {result_of("", dy.dtype, shape)};
          },
          .reuse =
              [](const Op& op, int) {
                return ReuseCandidates{has_operand(op, 2) ? 2 : -1, -1};
              }};
}

}  // namespace plimsoll
