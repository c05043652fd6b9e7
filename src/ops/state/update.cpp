// The ops of the optimizer's phase.
//   cast(source, target updated): target = source, rounded to target's dtype
//   convert(source) -> source, rounded to the attribute's dtype
//   fake_quant(source f32, target updated): target = source, quantized to a few bits and back (Jacob et al. 2018,
//     arXiv:1712.05877): x ≈ s · clamp(round(x / s), -2^(bits-1), 2^(bits-1) - 1), s = absmax / (2^(bits-1) - 1)
//   fill_zero(target updated)
//   begin_gradient() -> an f32 accumulator that lives within the step, zero where `clear`
//   square_sum(gradient, sums f64 updated): sums[slot] = Σ g²
//   clip_coefficient(gradients…, or sums) -> (1) f32: min(1, max_norm / (‖g‖₂ + 1e-6)), as
//     torch.nn.utils.clip_grad_norm_. Where the loss was scaled, ‖g‖ and the coefficient are of the unscaled gradients
//   optimizer_update(weights updated, gradient, [coefficient], [compute copy updated], state… updated): the state of
//     passes/optimizer_step.h, in its order. Weights are f32, or bf16 rounded stochastically.
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

OpDef convert_def() {
  return {
      .kind = OpKind::convert, .name = "convert", .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
        return {result_of("", op.attributes<ConvertAttrs>().dtype, operand(graph, op, 0).shape)};
      }};
}

OpDef fake_quant_def() {
  return {.kind = OpKind::fake_quant,
          .name = "fake_quant",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            expect(operand(graph, op, 0).shape == operand(graph, op, 1).shape, op, "source and target have one shape");
            expect(operand(graph, op, 0).dtype == DType::f32 && operand(graph, op, 0).shape.rank() == 2, op,
                   "the source is an f32 matrix");
            return {};
          },
          .mutates = [](const Op&, int index) { return index == 1; }};
}

OpDef begin_gradient_def() {
  return {.kind = OpKind::begin_gradient, .name = "begin_gradient", .infer = [](const Graph&, const Op& op) {
            Value value = result_of("", DType::f32, op.attributes<BeginGradientAttrs>().shape);
            value.kind = ValueKind::step_gradient;
            return std::vector<Value>{value};
          }};
}

OpDef square_sum_def() {
  return {.kind = OpKind::square_sum,
          .name = "square_sum",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            expect(operand(graph, op, 0).dtype == DType::f32, op, "the gradient is f32");
            const Value& sums = operand(graph, op, 1);
            expect(sums.dtype == DType::f64 && op.attributes<SquareSumAttrs>().slot < sums.shape[0], op,
                   "the slot is one of the f64 sums");
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
            const DType wanted = op.attributes<ClipAttrs>().from_sums ? DType::f64 : DType::f32;
            for (size_t i = 0; i < op.operands.size(); ++i)
              expect(operand(graph, op, i).dtype == wanted, op, "gradients are f32, sums of squares f64");
            return {result_of("", DType::f32, {1})};
          }};
}

OpDef optimizer_update_def() {
  return {.kind = OpKind::optimizer_update,
          .name = "optimizer_update",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& weights = operand(graph, op, 0);
            expect(weights.dtype == DType::f32 || weights.dtype == DType::bf16, op, "updated weights are f32 or bf16");
            expect(operand(graph, op, 1).shape == weights.shape, op, "the gradient has the weights' shape");
            if (has_operand(op, 3))
              expect(weights.dtype == DType::f32 && operand(graph, op, 3).shape == weights.shape, op,
                     "f32 weights have a copy of their shape");
            return {};
          },
          .mutates = [](const Op&, int index) { return index == 0 || index >= 3; }};
}

}  // namespace plimsoll
