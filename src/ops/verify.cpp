#include <vector>

#include "base/error.h"
#include "ops/op_def.h"

namespace plimsoll {
namespace {

void verify_results(const Graph& graph, const Op& op) {
  const std::vector<Value> expected = op_def(op.kind).infer(graph, op);
  PLIMSOLL_CHECK(expected.size() == op.results.size(), op.name + ": wrong number of results");
  for (size_t i = 0; i < expected.size(); ++i) {
    const Value& value = graph.value(op.results[i]);
    PLIMSOLL_CHECK(
        value.shape == expected[i].shape && value.dtype == expected[i].dtype,
        op.name + ": result is " + to_string(value.shape) + ", the rule says " + to_string(expected[i].shape));
  }
}

}  // namespace

void verify(const Graph& graph) {
  std::vector<bool> defined(graph.values.size(), false);
  for (size_t i = 0; i < graph.values.size(); ++i) {
    const Value& value = graph.values[i];
    defined[i] = value.producer < 0;
    if (value.producer < 0)
      PLIMSOLL_CHECK(is_persistent(value.kind) || value.kind == ValueKind::input, value.name + " has no producer");
  }
  for (size_t index = 0; index < graph.ops.size(); ++index) {
    const Op& op = graph.ops[index];
    const OpDef& def = op_def(op.kind);
    for (size_t i = 0; i < op.operands.size(); ++i) {
      const ValueId id = op.operands[i];
      if (id == kNoValue) continue;
      PLIMSOLL_CHECK(id >= 0 && static_cast<size_t>(id) < graph.values.size(), op.name + ": operand out of range");
      PLIMSOLL_CHECK(defined[static_cast<size_t>(id)],
                     op.name + " reads " + graph.value(id).name + " before it is written");
      if (def.mutates != nullptr && def.mutates(op, static_cast<int>(i)))
        PLIMSOLL_CHECK(may_be_updated(graph.value(id).kind),
                       op.name + " updates " + graph.value(id).name + ", which is not persistent");
    }
    for (const ValueId id : op.results) {
      PLIMSOLL_CHECK(graph.value(id).producer == static_cast<int>(index), graph.value(id).name + ": producer is wrong");
      PLIMSOLL_CHECK(!defined[static_cast<size_t>(id)], graph.value(id).name + " is written twice");
      defined[static_cast<size_t>(id)] = true;
    }
    verify_results(graph, op);
  }
  for (const ValueId id : graph.outputs) PLIMSOLL_CHECK(defined[static_cast<size_t>(id)], "an output is never written");
}

}  // namespace plimsoll
