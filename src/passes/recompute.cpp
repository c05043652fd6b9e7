#include "passes/recompute.h"

#include <unordered_map>
#include <unordered_set>

#include "ops/op_def.h"
#include "passes/rewrite.h"

namespace plimsoll {
namespace {

class Recomputer {
 public:
  Recomputer(Graph& graph, int64_t layers, bool keep_attention)
      : graph_(graph), layers_(layers), keep_attention_(keep_attention), original_(std::move(graph.ops)) {
    graph_.ops.clear();
    for (size_t i = 0; i < original_.size(); ++i)
      for (const ValueId id : original_[i].results) producer_[id] = static_cast<int>(i);
    for (const Op& op : original_) {
      if (op.role != OpRole::forward) continue;
      for (const ValueId id : op.operands)
        if (const auto found = producer_.find(id); found != producer_.end())
          if (original_[static_cast<size_t>(found->second)].layer != op.layer) leaves_layer_.insert(id);
    }
  }

  void run() {
    for (const Op& source : original_) {
      Op op = source;
      if (op.role == OpRole::backward)
        for (ValueId& id : op.operands) id = available(id);
      graph_.ops.push_back(std::move(op));
    }
    set_ops(graph_, std::move(graph_.ops));
    remove_dead_ops(graph_);
  }

 private:
  bool in_recomputed_layer(const Op& op) const {
    if (keep_attention_ && op.kind == OpKind::attention) return false;
    return op.role == OpRole::forward && op.layer >= 0 && op.layer < layers_;
  }

  bool is_made_again(ValueId id) const {
    const auto found = producer_.find(id);
    if (found == producer_.end()) return false;
    const Op& op = original_[static_cast<size_t>(found->second)];
    if (op.role != OpRole::forward) return false;
    const OpDef& def = op_def(op.kind);
    if (def.cheap && (id == op.results[0] || def.all_results_cheap)) return true;
    return in_recomputed_layer(op) && !leaves_layer_.contains(id);
  }

  // The value to read for `id` in the backward pass: itself, or a copy made here.
  ValueId available(ValueId id) {
    if (id == kNoValue || !is_made_again(id)) return id;
    if (const auto found = copies_.find(id); found != copies_.end()) return found->second;
    const Op& source = original_[static_cast<size_t>(producer_.at(id))];
    std::vector<ValueId> operands;
    for (const ValueId operand : source.operands) operands.push_back(available(operand));
    const auto results =
        add_op(graph_, {source.kind, operands, source.attrs, source.name + ".again", OpRole::recompute, source.layer});
    for (size_t i = 0; i < results.size(); ++i) copies_[source.results[i]] = results[i];
    return copies_.at(id);
  }

  Graph& graph_;
  int64_t layers_;
  bool keep_attention_;
  std::vector<Op> original_;
  std::unordered_map<ValueId, int> producer_;
  std::unordered_set<ValueId> leaves_layer_;  // read by another layer: that layer's input, which is kept
  std::unordered_map<ValueId, ValueId> copies_;
};

}  // namespace

void recompute(Graph& graph, int64_t layers, bool keep_attention) { Recomputer(graph, layers, keep_attention).run(); }

}  // namespace plimsoll
