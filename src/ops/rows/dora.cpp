// DoRA's two ops.   Liu et al. 2024, arXiv:2402.09353.
//   dora_norm(weight (N, K) or (K, N), A (r, K), B (N, r)) -> (N) f32: ‖weight + scale · B A‖₂ of each output. A
//   constant
//     for the gradient, as PEFT has it.
//   scale_columns(z (M, N), magnitude (N) f32, norm (N) f32, [bias (N)]) -> y (M, N) = z · magnitude / norm + bias.
//     Saves: z, which no other op wants. With attribute `rows` it scales row i by magnitude[i] / norm[i].
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"
#include "quant/packed_matrix.h"

namespace plimsoll {
namespace {

double all_elements(const Graph& graph, const Op& op) {
  return static_cast<double>(operand(graph, op, 0).shape.elements());
}

void check_scale(const Graph& graph, const Op& op, size_t first) {
  const Value& z = operand(graph, op, first);
  const Shape wanted{z.shape[op.attributes<ScaleColumnsAttrs>().rows ? 0 : 1]};
  expect(operand(graph, op, first + 1).shape == wanted && operand(graph, op, first + 2).shape == wanted, op,
         "magnitude and norm have one number for each line");
  expect(operand(graph, op, first + 1).dtype == DType::f32 && operand(graph, op, first + 2).dtype == DType::f32, op,
         "magnitude and norm are f32");
}

}  // namespace

OpDef dora_norm_def() {
  return {.kind = OpKind::dora_norm,
          .name = "dora_norm",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value &weight = operand(graph, op, 0), &a = operand(graph, op, 1), &b = operand(graph, op, 2);
            const bool transposed = op.attributes<DoraNormAttrs>().transpose_weight;
            const int64_t n = weight.shape[transposed ? 0 : 1], k = weight.shape[transposed ? 1 : 0];
            expect(a.shape[1] == k && b.shape == Shape{n, a.shape[0]}, op, "A is (r, K), B is (N, r)");
            expect(b.dtype == a.dtype, op, "A and B have one dtype");
            expect(weight.dtype == a.dtype || (is_packed(weight.dtype) && transposed), op,
                   "the weight has that dtype, or is packed (N, K)");
            return {result_of("", DType::f32, {n})};
          },
          .flops =
              [](const Graph& graph, const Op& op) {
                return 2.0 * all_elements(graph, op) * static_cast<double>(operand(graph, op, 1).shape[0] + 1);
              }};
}

OpDef scale_columns_def() {
  return {.kind = OpKind::scale_columns,
          .name = "scale_columns",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            check_scale(graph, op, 0);
            const Value& z = operand(graph, op, 0);
            if (op.attributes<ScaleColumnsAttrs>().has_bias)
              expect(operand(graph, op, 3).shape == Shape{z.shape[1]}, op, "bias is (N)");
            return {result_of("", z.dtype, z.shape)};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                PLIMSOLL_CHECK(!op.attributes<ScaleColumnsAttrs>().rows, op.name + ": rows have no gradient");
                const ValueId dy = builder.gradient_of(op.results[0]), z = op.operands[0];
                if (op.attributes<ScaleColumnsAttrs>().has_bias)
                  if (const ValueId sum = builder.accumulator(op.operands[3]); sum != kNoValue)
                    builder.add(OpKind::bias_grad, {dy, sum}, {}, op, ".grad_bias");
                const ValueId dz =
                    builder.add(OpKind::scale_columns_grad,
                                {dy, z, op.operands[1], op.operands[2], builder.accumulator(op.operands[1])}, op.attrs,
                                op, ".grad")[0];
                builder.accumulate(z, dz, op);
              },
          .flops = [](const Graph& graph, const Op& op) { return 2.0 * all_elements(graph, op); },
          .reuse =
              [](const Op&, int) {
                return ReuseCandidates{0, -1};
              }};
}

// scale_columns_grad(dy, z, magnitude, norm, [magnitude accumulator (N) f32, updated]) -> dz = dy · magnitude / norm
OpDef scale_columns_grad_def() {
  return {.kind = OpKind::scale_columns_grad,
          .name = "scale_columns_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            check_scale(graph, op, 1);
            const Value& z = operand(graph, op, 1);
            expect(operand(graph, op, 0).shape == z.shape && operand(graph, op, 0).dtype == z.dtype, op, "dy is as z");
            return {result_of("", z.dtype, z.shape)};
          },
          .flops = [](const Graph& graph, const Op& op) { return 4.0 * all_elements(graph, op); },
          .reuse =
              [](const Op&, int) {
                return ReuseCandidates{0, -1};
              },
          .mutates = [](const Op&, int index) { return index == 4; }};
}

}  // namespace plimsoll
