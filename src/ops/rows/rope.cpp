// rope_table(positions (R) i32, inv_freq (F) f32) -> cos, sin (R, D/2) f32, of all frequencies or a slice of them: one
// table serves every layer that rotates alike.
// rope(x (R, heads · head_dim), cos, sin) -> y.   Su et al. 2021, arXiv:2104.09864.
// With a QkvLayout x is a fused projection: the heads of q and k in it turn, in place when x dies here.
// Saves: nothing; the gradient is the rotation by the negative angle.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef rope_table_def() {
  return {.kind = OpKind::rope_table,
          .name = "rope_table",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const auto& attrs = op.attributes<RopeTableAttrs>();
            const int64_t all = operand(graph, op, 1).shape[0];
            expect(attrs.first >= 0 && attrs.first + attrs.count <= all, op, "the slice lies in inv_freq");
            const Shape shape{operand(graph, op, 0).shape[0], attrs.count > 0 ? attrs.count : all};
            return {result_of("cos", DType::f32, shape), result_of("sin", DType::f32, shape)};
          }};
}

OpDef rope_def() {
  return {.kind = OpKind::rope,
          .name = "rope",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const auto& attrs = op.attributes<RopeAttrs>();
            const Value& x = operand(graph, op, 0);
            const int64_t width = attrs.qkv.fused() ? attrs.qkv.width : attrs.heads * attrs.head_dim;
            expect(x.shape == Shape{x.shape[0], width}, op, "x is (R, heads · head_dim) or fused");
            expect(attrs.offset + attrs.rotary_dim <= attrs.head_dim, op, "what rotates lies in the head");
            expect(operand(graph, op, 1).shape == Shape{x.shape[0], attrs.rotary_dim / 2}, op,
                   "cos is (R, rotary_dim / 2)");
            return {result_of("", x.dtype, x.shape)};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                if (!builder.needs(op.operands[0])) return;
                RopeAttrs attrs = op.attributes<RopeAttrs>();
                attrs.inverse = !attrs.inverse;
                builder.accumulate(
                    op.operands[0],
                    builder.add(OpKind::rope, {builder.gradient_of(op.results[0]), op.operands[1], op.operands[2]},
                                attrs, op, ".grad")[0],
                    op);
              },
          .reuse =
              [](const Op&, int) {
                return ReuseCandidates{0, -1};
              }};
}

}  // namespace plimsoll
