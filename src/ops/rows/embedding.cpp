// embedding(ids (R) i32, weight (V, H)) -> (R, H): of tokens, or of positions that are learned. Saves: nothing; the
// gradient needs only the ids.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef embedding_def() {
  return {.kind = OpKind::embedding,
          .name = "embedding",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& ids = operand(graph, op, 0);
            const Value& weight = operand(graph, op, 1);
            expect(ids.dtype == DType::i32 && ids.shape.rank() == 1, op, "ids are (R) i32");
            expect(weight.shape.rank() == 2, op, "weight is (V, H)");
            const DType dtype = op.attributes<EmbeddingAttrs>().result_dtype.value_or(weight.dtype);
            expect(!is_packed(dtype) && (dtype == weight.dtype || is_packed(weight.dtype)), op,
                   "weight is as y, or packed");
            return {result_of("", dtype, {ids.shape[0], weight.shape[1]})};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                const ValueId accumulator = builder.accumulator(op.operands[1]);
                if (accumulator == kNoValue) return;
                builder.add(OpKind::embedding_grad, {builder.gradient_of(op.results[0]), op.operands[0], accumulator},
                            op.attrs, op, ".grad");
              }};
}

// embedding_grad(dy (R, H), ids (R), accumulator (V, H) f32, updated)
OpDef embedding_grad_def() {
  return {.kind = OpKind::embedding_grad,
          .name = "embedding_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            expect(operand(graph, op, 2).dtype == DType::f32, op, "accumulators are f32");
            expect(operand(graph, op, 2).shape[1] == operand(graph, op, 0).shape[1], op, "widths agree");
            return {};
          },
          .mutates = [](const Op&, int index) { return index == 2; }};
}

}  // namespace plimsoll
