// Weights that lie on disk while they are not used (passes/stream.h):
//   lay_out_tensor(value): writes it to the run's file of streamed weights
//   prefetch_tensor() -> value (streamed): begins to read it; the value is there after the await
//   await_tensors(value…): ends when these reads have ended
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef lay_out_tensor_def() {
  return {.kind = OpKind::lay_out_tensor,
          .name = "lay_out_tensor",
          .infer = [](const Graph&, const Op&) -> std::vector<Value> { return {}; }};
}

OpDef prefetch_tensor_def() {
  return {.kind = OpKind::prefetch_tensor,
          .name = "prefetch_tensor",
          .infer = [](const Graph&, const Op& op) -> std::vector<Value> {
            const auto& attrs = op.attributes<TransferAttrs>();
            Value value = result_of("", attrs.dtype, attrs.shape);
            value.kind = ValueKind::streamed;
            return {value};
          }};
}

OpDef await_tensors_def() {
  return {.kind = OpKind::await_tensors,
          .name = "await_tensors",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            for (size_t i = 0; i < op.operands.size(); ++i)
              expect(operand(graph, op, i).kind == ValueKind::streamed, op, "only what is read can be awaited");
            return {};
          }};
}

}  // namespace plimsoll
