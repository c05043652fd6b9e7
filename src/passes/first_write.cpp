#include "passes/first_write.h"

#include <unordered_map>

#include "ops/op_def.h"

namespace plimsoll {

std::unordered_set<std::string> mark_first_writes(Graph& step) {
  std::unordered_map<ValueId, std::vector<Op*>> adders;
  for (Op& op : step.ops) {
    const OpDef& def = op_def(op.kind);
    for (size_t i = 0; i < op.operands.size() && def.mutates != nullptr; ++i)
      if (op.operands[i] != kNoValue && def.mutates(op, static_cast<int>(i))) adders[op.operands[i]].push_back(&op);
  }
  std::unordered_set<std::string> started;
  for (const auto& [value, ops] : adders) {
    if (ops.size() != 1 || ops[0]->kind != OpKind::linear_grad_weight) continue;
    std::get<LinearAttrs>(ops[0]->attrs).starts_sum = true;
    started.insert(step.value(value).name);
  }
  return started;
}

}  // namespace plimsoll
