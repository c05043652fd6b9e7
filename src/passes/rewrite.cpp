#include "passes/rewrite.h"

#include "ops/op_def.h"

namespace plimsoll {

void set_ops(Graph& graph, std::vector<Op> ops) {
  for (Value& value : graph.values) value.producer = -1;
  graph.ops = std::move(ops);
  for (size_t i = 0; i < graph.ops.size(); ++i)
    for (const ValueId id : graph.ops[i].results) graph.value(id).producer = static_cast<int>(i);
}

void remove_dead_ops(Graph& graph) {
  std::vector<bool> used(graph.values.size(), false);
  for (const ValueId id : graph.outputs) used[static_cast<size_t>(id)] = true;
  std::vector<bool> keep(graph.ops.size(), false);
  for (size_t i = graph.ops.size(); i-- > 0;) {
    const Op& op = graph.ops[i];
    const OpDef& def = op_def(op.kind);
    bool live = op.role == OpRole::transfer;
    for (size_t o = 0; o < op.operands.size() && def.mutates != nullptr; ++o)
      live = live || (op.operands[o] != kNoValue && def.mutates(op, static_cast<int>(o)));
    for (const ValueId id : op.results) live = live || used[static_cast<size_t>(id)];
    keep[i] = live;
    if (!live) continue;
    for (const ValueId id : op.operands)
      if (id != kNoValue) used[static_cast<size_t>(id)] = true;
  }
  std::vector<Op> ops;
  for (size_t i = 0; i < graph.ops.size(); ++i)
    if (keep[i]) ops.push_back(std::move(graph.ops[i]));
  set_ops(graph, std::move(ops));
  // Values that nothing writes or reads any more would look like persistent ones; give them no name and no bytes.
  std::vector<bool> mentioned(graph.values.size(), false);
  for (const Op& op : graph.ops) {
    for (const ValueId id : op.operands)
      if (id != kNoValue) mentioned[static_cast<size_t>(id)] = true;
    for (const ValueId id : op.results) mentioned[static_cast<size_t>(id)] = true;
  }
  for (size_t i = 0; i < graph.values.size(); ++i) {
    Value& value = graph.values[i];
    if (!mentioned[i] && value.kind == ValueKind::activation) {
      value.kind = ValueKind::input;
      value.shape = {0};
    }
  }
}

}  // namespace plimsoll
