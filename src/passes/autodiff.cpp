#include "passes/autodiff.h"

#include "base/error.h"
#include "ops/gradient_builder.h"
#include "ops/op_def.h"
#include "passes/rewrite.h"

namespace plimsoll {

std::string gradient_name(const std::string& parameter) { return "grad." + parameter; }

void autodiff(Graph& graph, const std::vector<ValueId>& trained) {
  std::vector<bool> needs(graph.values.size(), false);
  for (const ValueId id : trained) needs[static_cast<size_t>(id)] = true;
  for (const Op& op : graph.ops) {
    bool any = false;
    for (const ValueId id : op.operands) any = any || (id != kNoValue && needs[static_cast<size_t>(id)]);
    for (const ValueId id : op.results) needs[static_cast<size_t>(id)] = any;
  }

  std::unordered_map<ValueId, ValueId> accumulators;
  for (const ValueId id : trained) {
    const Value& parameter = graph.value(id);
    PLIMSOLL_CHECK(is_persistent(parameter.kind), parameter.name + " is not persistent");
    Value accumulator{gradient_name(parameter.name), DType::f32, parameter.shape, ValueKind::gradient};
    accumulators[id] = add_value(graph, std::move(accumulator));
  }
  needs.resize(graph.values.size(), false);

  GradientBuilder builder(graph, std::move(accumulators), std::move(needs));
  for (size_t i = graph.ops.size(); i-- > 0;) {
    const Op op = graph.ops[i];  // a copy: rules append to graph.ops
    const bool is_loss = op.kind == OpKind::linear_cross_entropy || op.kind == OpKind::route_balance;
    if (!is_loss && (op.results.empty() || builder.gradient_of(op.results[0]) == kNoValue)) continue;
    const OpDef& def = op_def(op.kind);
    PLIMSOLL_CHECK(def.gradient != nullptr, std::string(def.name) + " has no gradient rule");
    def.gradient(builder, op);
  }
  remove_dead_ops(graph);
}

}  // namespace plimsoll
