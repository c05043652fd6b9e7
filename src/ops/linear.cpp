// linear(x (M, K), weight (N, K) or (K, N), [bias (N)], [addend (M, N)]) -> y (M, N) = alpha · x weightᵀ + bias +
// addend. A frozen weight may be packed (quant/packed_matrix.h). Saves: x only when the weight is trained (or an
// adapter reads it), the weight always; never y.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {
namespace {

int addend_index(const Op& op) {
  const auto& attrs = op.attributes<LinearAttrs>();
  return attrs.has_addend ? (attrs.has_bias ? 3 : 2) : -1;
}

std::vector<Value> infer_linear(const Graph& graph, const Op& op) {
  const auto& attrs = op.attributes<LinearAttrs>();
  const Value& x = operand(graph, op, 0);
  const Value& weight = operand(graph, op, 1);
  expect(x.shape.rank() == 2 && weight.shape.rank() == 2, op, "x and weight have two dimensions");
  const int64_t n = weight.shape[attrs.transpose_weight ? 0 : 1];
  const int64_t k = x.shape[attrs.transpose_x ? 0 : 1];
  expect(k == weight.shape[attrs.transpose_weight ? 1 : 0], op, "inner dimensions agree");
  expect(x.dtype == weight.dtype || is_packed(weight.dtype), op, "x and weight have one dtype, or weight is packed");
  if (attrs.has_bias) expect(operand(graph, op, 2).shape == Shape{n}, op, "bias is (N)");
  const Shape shape{x.shape[attrs.transpose_x ? 1 : 0], n};
  if (attrs.has_addend)
    expect(operand(graph, op, static_cast<size_t>(addend_index(op))).shape == shape, op, "the addend is as y");
  return {result_of("", attrs.result_dtype.value_or(x.dtype), shape)};
}

double linear_flops(const Graph& graph, const Op& op) {
  const Value& x = operand(graph, op, 0);
  return 2.0 * static_cast<double>(x.shape.elements()) * static_cast<double>(operand(graph, op, 1).shape.elements()) /
         static_cast<double>(x.shape[op.attributes<LinearAttrs>().transpose_x ? 0 : 1]);
}

void linear_gradient(GradientBuilder& builder, const Op& op) {
  const auto& attrs = op.attributes<LinearAttrs>();
  PLIMSOLL_CHECK(!attrs.transpose_x, op.name + ": has no gradient");
  const ValueId dy = builder.gradient_of(op.results[0]);
  const ValueId x = op.operands[0];
  const ValueId weight = op.operands[1];
  if (const ValueId accumulator = builder.accumulator(weight); accumulator != kNoValue) {
    LinearAttrs weight_attrs;
    weight_attrs.alpha = attrs.alpha;
    weight_attrs.transpose_weight = attrs.transpose_weight;
    builder.add(OpKind::linear_grad_weight, {dy, x, accumulator}, weight_attrs, op, ".grad_weight");
  }
  if (attrs.has_bias)
    if (const ValueId accumulator = builder.accumulator(op.operands[2]); accumulator != kNoValue)
      builder.add(OpKind::bias_grad, {dy, accumulator}, {}, op, ".grad_bias");
  if (builder.needs(x)) {
    LinearAttrs input_attrs;
    input_attrs.alpha = attrs.alpha;
    input_attrs.transpose_weight = !attrs.transpose_weight;
    std::vector<ValueId> operands = {dy, weight};
    if (const ValueId so_far = builder.gradient_of(x); so_far != kNoValue) {
      input_attrs.has_addend = true;
      operands.push_back(so_far);
    }
    builder.set_gradient(x, builder.add(OpKind::linear, std::move(operands), input_attrs, op, ".grad_input")[0]);
  }
  if (attrs.has_addend) builder.accumulate(op.operands[static_cast<size_t>(addend_index(op))], dy, op);
}

}  // namespace

OpDef linear_def() {
  return {.kind = OpKind::linear,
          .name = "linear",
          .infer = infer_linear,
          .gradient = linear_gradient,
          .flops = linear_flops,
          .reuse = [](const Op& op, int) {
            return ReuseCandidates{addend_index(op), -1};
          }};
}

// linear_grad_weight(dy (M, N), x (M, K), accumulator (N, K) or (K, N) f32, updated): += alpha · dyᵀ x, or = where it
// starts the sum (passes/first_write.h).
OpDef linear_grad_weight_def() {
  return {.kind = OpKind::linear_grad_weight,
          .name = "linear_grad_weight",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& dy = operand(graph, op, 0);
            const Value& x = operand(graph, op, 1);
            const Value& accumulator = operand(graph, op, 2);
            const Shape wanted = op.attributes<LinearAttrs>().transpose_weight ? Shape{dy.shape[1], x.shape[1]}
                                                                               : Shape{x.shape[1], dy.shape[1]};
            expect(dy.shape[0] == x.shape[0], op, "dy and x have the same rows");
            expect(accumulator.dtype == DType::f32 && accumulator.shape == wanted, op,
                   "the accumulator is as the weight, f32");
            return {};
          },
          .flops =
              [](const Graph& graph, const Op& op) {
                return 2.0 * static_cast<double>(operand(graph, op, 0).shape.elements()) *
                       static_cast<double>(operand(graph, op, 1).shape[1]);
              },
          .mutates = [](const Op&, int index) { return index == 2; }};
}

// bias_grad(dy (M, N), accumulator (N) f32, updated)
OpDef bias_grad_def() {
  return {.kind = OpKind::bias_grad,
          .name = "bias_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            expect(operand(graph, op, 1).shape == Shape{operand(graph, op, 0).shape[1]}, op, "the accumulator is (N)");
            return {};
          },
          .mutates = [](const Op&, int index) { return index == 1; }};
}

}  // namespace plimsoll
