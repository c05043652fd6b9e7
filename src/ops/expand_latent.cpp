// expand_latent(kv (R, heads · (plain + value)), k_rotary (R, rotary)) ->
//   k (R, heads · (plain + rotary)), v (R, heads · value).
// Keys and values of multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1): a head of kv is its key
// without position, then its value; all heads share one key with position.   Saves: nothing.
#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef expand_latent_def() {
  return {.kind = OpKind::expand_latent,
          .name = "expand_latent",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const auto& a = op.attributes<ExpandLatentAttrs>();
            const Value& kv = operand(graph, op, 0);
            const int64_t rows = kv.shape[0];
            expect(kv.shape == Shape{rows, a.heads * (a.plain + a.value)}, op, "kv is (R, heads · (plain + value))");
            expect(operand(graph, op, 1).shape == Shape{rows, a.rotary}, op, "k_rotary is (R, rotary)");
            return {result_of("k", kv.dtype, {rows, a.heads * (a.plain + a.rotary)}),
                    result_of("v", kv.dtype, {rows, a.heads * a.value})};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                const auto grads = builder.add(OpKind::expand_latent_grad,
                                               {builder.gradient_of(op.results[0]), builder.gradient_of(op.results[1])},
                                               op.attrs, op, ".grad");
                for (size_t i = 0; i < 2; ++i) builder.accumulate(op.operands[i], grads[i], op);
              },
          .cheap = true,
          .all_results_cheap = true};
}

// expand_latent_grad(dk, [dv]) -> dkv, dk_rotary: the sum over the heads.
OpDef expand_latent_grad_def() {
  return {.kind = OpKind::expand_latent_grad,
          .name = "expand_latent_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const auto& a = op.attributes<ExpandLatentAttrs>();
            const Value& dk = operand(graph, op, 0);
            return {result_of("kv", dk.dtype, {dk.shape[0], a.heads * (a.plain + a.value)}),
                    result_of("k_rotary", dk.dtype, {dk.shape[0], a.rotary})};
          }};
}

}  // namespace plimsoll
