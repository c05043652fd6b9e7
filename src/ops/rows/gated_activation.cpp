// gated_activation(gate (R, F), up (R, F)) -> act(gate) · up.   SwiGLU and GeGLU: Shazeer 2020, arXiv:2002.05202.
// Saves: gate and up; their product is cheap to make again.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef gated_activation_def() {
  return {.kind = OpKind::gated_activation,
          .name = "gated_activation",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& gate = operand(graph, op, 0);
            expect(gate.shape == operand(graph, op, 1).shape, op, "gate and up have one shape");
            return {result_of("", gate.dtype, gate.shape)};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                const auto grads = builder.add(OpKind::gated_activation_grad,
                                               {builder.gradient_of(op.results[0]), op.operands[0], op.operands[1]},
                                               op.attrs, op, ".grad");
                builder.accumulate(op.operands[0], grads[0], op);
                builder.accumulate(op.operands[1], grads[1], op);
              },
          .flops = [](const Graph& graph,
                      const Op& op) { return 8.0 * static_cast<double>(operand(graph, op, 0).shape.elements()); },
          .cheap = true};
}

// gated_activation_grad(dout, gate, up) -> dgate, dup, [product]; they may take over the buffers of gate, up and dout.
OpDef gated_activation_grad_def() {
  return {
      .kind = OpKind::gated_activation_grad,
      .name = "gated_activation_grad",
      .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
        const Value& gate = operand(graph, op, 1);
        std::vector<Value> results{result_of("gate", gate.dtype, gate.shape), result_of("up", gate.dtype, gate.shape)};
        if (op.attributes<GatedActivationAttrs>().with_product)
          results.push_back(result_of("product", gate.dtype, gate.shape));
        return results;
      },
      .flops = [](const Graph& graph,
                  const Op& op) { return 14.0 * static_cast<double>(operand(graph, op, 0).shape.elements()); },
      .reuse =
          [](const Op&, int index) {
            return ReuseCandidates{(index + 1) % 3, -1};
          }};
}

}  // namespace plimsoll
