// linear_cross_entropy(hidden (R, H), weight (V, H), labels (R) i32, loss_scale (1) f32) -> loss (1) f32
//   = loss_scale · Σ -log softmax(z)[label] over labels that are not -100, with z = hidden weightᵀ, or its soft-cap
//   cap · tanh(z / cap) (Gemma 2, arXiv:2408.00118); chunk_rows rows at a time, so that no (R, V) matrix exists.
// A frozen weight may be packed (quant/packed_matrix.h). has_bias: a fifth operand, bias (V), is added to the logits
// (Phi's head). Its gradient is made in the same pass over the chunks: autodiff replaces the op by
// linear_cross_entropy_grad (hidden, weight, labels, loss_scale, [weight accumulator (V, H) f32, updated], [bias],
// [bias accumulator (V) f32, updated]) -> loss, d_hidden.   Saves: nothing.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {
namespace {

void check(const Graph& graph, const Op& op) {
  const Value& hidden = operand(graph, op, 0);
  expect(hidden.shape[1] == operand(graph, op, 1).shape[1], op, "hidden and weight have one width");
  expect(operand(graph, op, 2).shape == Shape{hidden.shape[0]} && operand(graph, op, 2).dtype == DType::i32, op,
         "labels are (R) i32");
  expect(op.attributes<CrossEntropyAttrs>().chunk_rows > 0, op, "chunk_rows is positive");
}

void check_bias(const Graph& graph, const Op& op, size_t index) {
  if (op.attributes<CrossEntropyAttrs>().has_bias)
    expect(operand(graph, op, index).shape == Shape{operand(graph, op, 1).shape[0]}, op, "bias is (V)");
}

double head_flops(const Graph& graph, const Op& op) {
  return 2.0 * static_cast<double>(operand(graph, op, 0).shape[0]) *
         static_cast<double>(operand(graph, op, 1).shape.elements());
}

}  // namespace

OpDef linear_cross_entropy_def() {
  return {.kind = OpKind::linear_cross_entropy,
          .name = "linear_cross_entropy",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            check(graph, op);
            check_bias(graph, op, 4);
            return {result_of("", DType::f32, {1})};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                std::vector<ValueId> operands(op.operands.begin(), op.operands.begin() + 4);
                operands.push_back(builder.accumulator(op.operands[1]));
                if (op.attributes<CrossEntropyAttrs>().has_bias) {
                  operands.push_back(op.operands[4]);
                  operands.push_back(builder.accumulator(op.operands[4]));
                }
                const auto results = builder.add(OpKind::linear_cross_entropy_grad, operands, op.attrs, op, ".grad");
                for (ValueId& output : builder.graph().outputs)
                  if (output == op.results[0]) output = results[0];
                builder.set_gradient(op.operands[0], results[1]);
              },
          .flops = head_flops};
}

OpDef linear_cross_entropy_grad_def() {
  return {
      .kind = OpKind::linear_cross_entropy_grad,
      .name = "linear_cross_entropy_grad",
      .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
        check(graph, op);
        check_bias(graph, op, 5);
        const Value& hidden = operand(graph, op, 0);
        return {result_of("loss", DType::f32, {1}), result_of("hidden", hidden.dtype, hidden.shape)};
      },
      .flops = [](const Graph& graph, const Op& op) { return (has_operand(op, 4) ? 3 : 2) * head_flops(graph, op); },
      .mutates = [](const Op&, int index) { return index == 4 || index == 6; }};
}

}  // namespace plimsoll
