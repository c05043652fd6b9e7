// grouped_linear(x (M, K) sorted by expert, offsets (E + 1) i32, [bias (E, N)], [addend (M, N)], weights…) -> y (M, N):
// the rows from offsets[e] to offsets[e + 1] times the weight of expert e. The weights are E operands, (N, K) or (K, N)
// each (also packed, quant/packed_matrix.h), or with `fused` one operand (E, …), as the checkpoint has them.
// Saves: the weights, and x where they are trained.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {
namespace {

size_t addend_index(const GroupedLinearAttrs& attrs) { return attrs.has_bias ? 3 : 2; }
size_t first_weight(const GroupedLinearAttrs& attrs) { return addend_index(attrs) + (attrs.has_addend ? 1 : 0); }

// (inputs, outputs) of a weight.
std::pair<int64_t, int64_t> sides(const GroupedLinearAttrs& attrs, const Shape& weight) {
  const int64_t first = weight[attrs.fused ? 1 : 0], second = weight[attrs.fused ? 2 : 1];
  return attrs.transpose_weight ? std::pair{second, first} : std::pair{first, second};
}

std::vector<Value> infer(const Graph& graph, const Op& op) {
  const auto& attrs = op.attributes<GroupedLinearAttrs>();
  const Value& x = operand(graph, op, 0);
  expect(operand(graph, op, 1).shape == Shape{attrs.experts + 1} && operand(graph, op, 1).dtype == DType::i32, op,
         "offsets are (E + 1) i32");
  const size_t first = first_weight(attrs);
  expect(static_cast<int64_t>(op.operands.size() - first) == (attrs.fused ? 1 : attrs.experts), op,
         "a weight for each expert");
  const Shape& shape = operand(graph, op, first).shape;
  expect(shape.rank() == (attrs.fused ? 3 : 2) && (!attrs.fused || shape[0] == attrs.experts), op,
         "weights are matrices");
  const auto [inputs, outputs] = sides(attrs, shape);
  const DType dtype = operand(graph, op, first).dtype;
  expect(dtype == x.dtype || (is_packed(dtype) && !attrs.fused), op, "weights are as x, or packed matrices");
  for (size_t i = first; i < op.operands.size(); ++i)
    expect(operand(graph, op, i).shape == shape && operand(graph, op, i).dtype == dtype, op, "weights are alike");
  expect(x.shape.rank() == 2 && x.shape[1] == inputs, op, "inner dimensions agree");
  if (attrs.has_bias) expect(operand(graph, op, 2).shape == Shape{attrs.experts, outputs}, op, "bias is (E, N)");
  if (attrs.has_addend)
    expect(operand(graph, op, addend_index(attrs)).shape == Shape{x.shape[0], outputs}, op, "the addend is as y");
  return {result_of("", x.dtype, {x.shape[0], outputs})};
}

double matmul_flops(const Graph& graph, const Op& op) {
  const auto& attrs = op.attributes<GroupedLinearAttrs>();
  const auto [inputs, outputs] = sides(attrs, operand(graph, op, first_weight(attrs)).shape);
  return 2.0 * static_cast<double>(operand(graph, op, 0).shape[0] * inputs) * static_cast<double>(outputs);
}

void gradient(GradientBuilder& builder, const Op& op) {
  const auto& attrs = op.attributes<GroupedLinearAttrs>();
  const ValueId dy = builder.gradient_of(op.results[0]), x = op.operands[0], offsets = op.operands[1];
  const std::vector<ValueId> weights(op.operands.begin() + static_cast<std::ptrdiff_t>(first_weight(attrs)),
                                     op.operands.end());
  GroupedLinearAttrs plain = attrs;
  plain.has_bias = plain.has_addend = false;
  std::vector<ValueId> operands = {dy, x, offsets};
  bool trained = false;
  for (const ValueId weight : weights) {
    operands.push_back(builder.accumulator(weight));
    trained = trained || operands.back() != kNoValue;
  }
  if (trained) builder.add(OpKind::grouped_linear_grad_weight, operands, plain, op, ".grad_weight");
  if (attrs.has_bias)
    if (const ValueId accumulator = builder.accumulator(op.operands[2]); accumulator != kNoValue)
      builder.add(OpKind::grouped_bias_grad, {dy, offsets, accumulator}, {}, op, ".grad_bias");
  if (builder.needs(x)) {
    GroupedLinearAttrs input = plain;
    input.transpose_weight = !attrs.transpose_weight;
    operands = {dy, offsets};
    if (const ValueId so_far = builder.gradient_of(x); so_far != kNoValue) {
      input.has_addend = true;
      operands.push_back(so_far);
    }
    operands.insert(operands.end(), weights.begin(), weights.end());
    builder.set_gradient(x, builder.add(OpKind::grouped_linear, operands, input, op, ".grad_input")[0]);
  }
  if (attrs.has_addend) builder.accumulate(op.operands[addend_index(attrs)], dy, op);
}

}  // namespace

OpDef grouped_linear_def() {
  return {.kind = OpKind::grouped_linear,
          .name = "grouped_linear",
          .infer = infer,
          .gradient = gradient,
          .flops = matmul_flops,
          .reuse = [](const Op& op, int) {
            const auto& attrs = op.attributes<GroupedLinearAttrs>();
            return ReuseCandidates{attrs.has_addend ? static_cast<int>(addend_index(attrs)) : -1, -1};
          }};
}

// grouped_linear_grad_weight(dy (M, N), x (M, K), offsets, [accumulators f32 as the weights, updated]…)
OpDef grouped_linear_grad_weight_def() {
  return {.kind = OpKind::grouped_linear_grad_weight,
          .name = "grouped_linear_grad_weight",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const auto& attrs = op.attributes<GroupedLinearAttrs>();
            const Value& dy = operand(graph, op, 0);
            const Value& x = operand(graph, op, 1);
            expect(dy.shape[0] == x.shape[0], op, "dy and x have the same rows");
            for (size_t i = 3; i < op.operands.size(); ++i) {
              if (!has_operand(op, i)) continue;
              const Value& accumulator = operand(graph, op, i);
              expect(accumulator.dtype == DType::f32 &&
                         sides(attrs, accumulator.shape) == std::pair{x.shape[1], dy.shape[1]},
                     op, "accumulators are as the weights, f32");
            }
            return {};
          },
          .flops =
              [](const Graph& graph, const Op& op) {
                return 2.0 * static_cast<double>(operand(graph, op, 0).shape.elements()) *
                       static_cast<double>(operand(graph, op, 1).shape[1]);
              },
          .mutates = [](const Op&, int index) { return index >= 3; }};
}

// grouped_bias_grad(dy (M, N), offsets (E + 1), accumulator (E, N) f32, updated)
OpDef grouped_bias_grad_def() {
  return {
      .kind = OpKind::grouped_bias_grad,
      .name = "grouped_bias_grad",
      .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
        expect(operand(graph, op, 2).shape == Shape{operand(graph, op, 1).shape[0] - 1, operand(graph, op, 0).shape[1]},
               op, "the accumulator is (E, N)");
        return {};
      },
      .mutates = [](const Op&, int index) { return index == 2; }};
}

}  // namespace plimsoll
