// expert_combine(z (R · k, H) sorted by expert, weights (R, k) f32, slots (R, k) i32) -> (R, H): what a row's experts
// made of it, weighted.   Saves: z, because the gradient of the weights needs it.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef expert_combine_def() {
  return {.kind = OpKind::expert_combine,
          .name = "expert_combine",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& z = operand(graph, op, 0);
            const Value& weights = operand(graph, op, 1);
            expect(weights.dtype == DType::f32 && weights.shape == operand(graph, op, 2).shape, op,
                   "weights are f32, as the slots");
            expect(z.shape[0] == weights.shape.elements(), op, "one row of z for each choice");
            return {result_of("", z.dtype, {weights.shape[0], z.shape[1]})};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                const auto grads =
                    builder.add(OpKind::expert_combine_grad,
                                {builder.gradient_of(op.results[0]), op.operands[0], op.operands[1], op.operands[2]},
                                {}, op, ".grad");
                for (size_t i = 0; i < 2; ++i) builder.accumulate(op.operands[i], grads[i], op);
              },
          .flops = [](const Graph& graph,
                      const Op& op) { return 2.0 * static_cast<double>(operand(graph, op, 0).shape.elements()); }};
}

// expert_combine_grad(dy (R, H), z, weights, slots) -> dz, which may take over z's buffer, and dweights (R, k) f32
OpDef expert_combine_grad_def() {
  return {.kind = OpKind::expert_combine_grad,
          .name = "expert_combine_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& z = operand(graph, op, 1);
            return {result_of("z", z.dtype, z.shape), result_of("weights", DType::f32, operand(graph, op, 2).shape)};
          },
          .flops = [](const Graph& graph,
                      const Op& op) { return 3.0 * static_cast<double>(operand(graph, op, 1).shape.elements()); },
          .reuse =
              [](const Op&, int index) {
                return ReuseCandidates{index == 0 ? 1 : -1, -1};
              }};
}

}  // namespace plimsoll
