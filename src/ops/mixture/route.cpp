// route(logits (R, E), [correction (E) f32]) ->
//   weights (R, k) f32, experts (R, k) i32, slots (R, k) i32, offsets (E + 1) i32.
// Which experts each token goes to, and with what weight. Tokens are then laid out sorted by expert, and by row within
// an expert: choice (r, j) is row slots[r, j] of that layout, expert e has the rows from offsets[e] to offsets[e + 1].
// The layout has R · k rows whatever is chosen, so nothing is dropped and the plan is exact.
// Softmax and top-k: Shazeer et al. 2017, arXiv:1701.06538; Jiang et al. 2024 (Mixtral), arXiv:2401.04088. Within
// the best groups: DeepSeek-V2, arXiv:2405.04434, section 2.2.2. Sigmoid with a correction for balance: DeepSeek-V3,
// arXiv:2412.19437, section 2.1.2; the correction takes part in the choice only. SparseMixer-v2 of Phi-3.5-MoE: Liu et
// al. 2024, arXiv:2409.12136, with the best expert in place of a sampled one, where its gradient is that of the
// softmax. Saves: the logits and the choice; the choice itself has no gradient.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef route_def() {
  return {.kind = OpKind::route,
          .name = "route",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const auto& a = op.attributes<RouteAttrs>();
            const Value& logits = operand(graph, op, 0);
            const int64_t rows = logits.shape[0];
            expect(logits.shape == Shape{rows, a.experts}, op, "logits are (R, E)");
            expect(a.top_k > 0 && a.top_k <= a.experts, op, "no more choices than experts");
            expect(a.groups > 0 && a.experts % a.groups == 0 && a.groups_kept > 0 && a.groups_kept <= a.groups &&
                       a.experts / a.groups * a.groups_kept >= a.top_k,
                   op, "the groups that are kept have enough experts");
            if (has_operand(op, 1))
              expect(operand(graph, op, 1).shape == Shape{a.experts} && operand(graph, op, 1).dtype == DType::f32, op,
                     "the correction is (E) f32");
            return {result_of("", DType::f32, {rows, a.top_k}), result_of("experts", DType::i32, {rows, a.top_k}),
                    result_of("slots", DType::i32, {rows, a.top_k}), result_of("offsets", DType::i32, {a.experts + 1})};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                if (!builder.needs(op.operands[0])) return;
                const ValueId dlogits =
                    builder.add(OpKind::route_grad,
                                {builder.gradient_of(op.results[0]), op.operands[0], op.results[0], op.results[1]},
                                op.attrs, op, ".grad")[0];
                builder.accumulate(op.operands[0], dlogits, op);
              }};
}

// route_grad(dweights (R, k) f32, logits, weights, experts) -> dlogits (R, E)
OpDef route_grad_def() {
  return {.kind = OpKind::route_grad,
          .name = "route_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& logits = operand(graph, op, 1);
            return {result_of("", op.attributes<RouteAttrs>().gradient_dtype.value_or(logits.dtype), logits.shape)};
          }};
}

}  // namespace plimsoll
