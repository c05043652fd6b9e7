#include "ops/gradient_builder.h"

#include "ops/op_def.h"

namespace plimsoll {

std::vector<ValueId> GradientBuilder::add(OpKind kind, std::vector<ValueId> operands, OpAttrs attrs, const Op& source,
                                          const char* suffix) {
  return add_op(graph_,
                {kind, std::move(operands), std::move(attrs), source.name + suffix, OpRole::backward, source.layer});
}

void GradientBuilder::accumulate(ValueId value, ValueId gradient, const Op& source) {
  if (!needs(value)) return;
  const ValueId so_far = gradient_of(value);
  if (so_far == kNoValue) {
    set_gradient(value, gradient);
    return;
  }
  set_gradient(value, add(OpKind::add, {so_far, gradient}, {}, source, ".grad_sum")[0]);
}

}  // namespace plimsoll
