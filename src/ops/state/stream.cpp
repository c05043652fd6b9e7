// What lies on disk while it is not used: weights (passes/stream.h), layer inputs (passes/stream_inputs.h).
//   lay_out_tensor(value): writes it to the run's file of streamed tensors, before the run
//   offload_tensor(value): begins to write it; its place must stay until the await
//   prefetch_tensor() -> value (streamed, fetched): begins to read it; the value is there after the await
//   await_tensors(value…): ends when these reads and writes have ended
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef lay_out_tensor_def() {
  return {.kind = OpKind::lay_out_tensor,
          .name = "lay_out_tensor",
          .infer = [](const Graph&, const Op&) -> std::vector<Value> { return {}; }};
}

OpDef offload_tensor_def() {
  return {.kind = OpKind::offload_tensor,
          .name = "offload_tensor",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            expect(operand(graph, op, 0).kind == ValueKind::activation, op,
                   "only an activation goes to disk in a step");
            return {};
          }};
}

OpDef prefetch_tensor_def() {
  return {.kind = OpKind::prefetch_tensor,
          .name = "prefetch_tensor",
          .infer = [](const Graph&, const Op& op) -> std::vector<Value> {
            const auto& attrs = op.attributes<TransferAttrs>();
            Value value = result_of("", attrs.dtype, attrs.shape);
            value.kind = attrs.activation ? ValueKind::fetched : ValueKind::streamed;
            return {value};
          }};
}

OpDef await_tensors_def() {
  return {.kind = OpKind::await_tensors,
          .name = "await_tensors",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            for (size_t i = 0; i < op.operands.size(); ++i)
              expect(!is_persistent(operand(graph, op, i).kind), op, "only what is read or written can be awaited");
            return {};
          }};
}

}  // namespace plimsoll
