// softcap(x) -> cap · tanh(x / cap), in place where x dies here.   Gemma Team 2024, arXiv:2408.00118.
// Of logits that somebody reads. Not differentiated: the loss caps its own logits chunk by chunk, and attention its
// scores.
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {

OpDef softcap_def() {
  return {.kind = OpKind::softcap,
          .name = "softcap",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const Value& x = operand(graph, op, 0);
            return {result_of("", x.dtype, x.shape)};
          },
          .flops = [](const Graph& graph,
                      const Op& op) { return 8.0 * static_cast<double>(operand(graph, op, 0).shape.elements()); },
          .reuse =
              [](const Op&, int) {
                return ReuseCandidates{0, -1};
              }};
}

}  // namespace plimsoll
