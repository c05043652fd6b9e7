// The ops of the optimizer's phase.
//   cast(source, target updated): target = source, rounded to target's dtype
//   fill_zero(target updated)
//   clip_coefficient(gradients…) -> (1) f32: min(1, max_norm / (‖g‖₂ + 1e-6)), as torch.nn.utils.clip_grad_norm_
//   optimizer_update(weights f32 updated, gradient, [m updated], [v updated], [coefficient], [compute copy updated])
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef cast_def() {
  return {.kind = OpKind::cast,
          .name = "cast",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            expect(operand(graph, op, 0).shape == operand(graph, op, 1).shape, op, "source and target have one shape");
            return {};
          },
          .mutates = [](const Op&, int index) { return index == 1; }};
}

OpDef fill_zero_def() {
  return {.kind = OpKind::fill_zero,
          .name = "fill_zero",
          .infer = [](const Graph&, const Op&) -> std::vector<Value> { return {}; },
          .mutates = [](const Op&, int) { return true; }};
}

OpDef clip_coefficient_def() {
  return {.kind = OpKind::clip_coefficient,
          .name = "clip_coefficient",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            for (size_t i = 0; i < op.operands.size(); ++i)
              expect(operand(graph, op, i).dtype == DType::f32, op, "gradients are f32");
            return {result_of("", DType::f32, {1})};
          }};
}

OpDef optimizer_update_def() {
  return {.kind = OpKind::optimizer_update,
          .name = "optimizer_update",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            expect(op.operands.size() == 6, op, "has six operands");
            const Value& weights = operand(graph, op, 0);
            expect(weights.dtype == DType::f32, op, "updated weights are f32");
            for (size_t i : {size_t{1}, size_t{2}, size_t{3}, size_t{5}})
              if (has_operand(op, i))
                expect(operand(graph, op, i).shape == weights.shape, op, "state has the weights' shape");
            return {};
          },
          .mutates = [](const Op&, int index) { return index == 0 || index == 2 || index == 3 || index == 5; }};
}

}  // namespace plimsoll
