#include "passes/stream_inputs.h"

#include <algorithm>
#include <unordered_map>

#include "ops/op_def.h"
#include "passes/rewrite.h"

namespace plimsoll {
namespace {

constexpr size_t kLeastDistance = 3;   // stages: to write, to be gone, to read
constexpr int64_t kLeastBytes = 4096;  // smaller values are not worth an access

// Where a value is used, in stages.
struct Uses {
  size_t last_forward = 0, first_later = SIZE_MAX, last_later = 0;
};

class InputStreamer {
 public:
  InputStreamer(Graph& graph, int64_t layers) : graph_(graph), layers_(layers), original_(std::move(graph.ops)) {
    graph_.ops.clear();
    for (size_t i = 0; i < original_.size(); ++i) {
      if (i == 0 || original_[i].layer != original_[i - 1].layer) begins_.push_back(i);
      stage_of_.push_back(begins_.size() - 1);
    }
    begins_.push_back(original_.size());
    find_values();
  }

  void run() {
    for (size_t stage = 0; stage + 1 < begins_.size(); ++stage) {
      const int layer = original_[begins_[stage]].layer;
      for (const ValueId id : arriving_[stage + 1]) fetch(id, layer);
      await(arriving_[stage], layer);
      for (size_t i = begins_[stage]; i < begins_[stage + 1]; ++i) {
        Op op = original_[i];
        if (op.role != OpRole::forward)
          for (ValueId& id : op.operands)
            if (const auto found = here_.find(id); found != here_.end()) id = found->second;
        graph_.ops.push_back(std::move(op));
      }
      if (stage > 0 && !leaving_[stage - 1].empty()) wait(leaving_[stage - 1], layer);
      for (const ValueId id : leaving_[stage]) write(id, layer);
    }
    set_ops(graph_, std::move(graph_.ops));
  }

 private:
  void find_values() {
    std::unordered_map<ValueId, Uses> uses;
    std::vector<ValueId> made;  // in the forward pass, in order
    for (size_t i = 0; i < original_.size(); ++i) {
      const Op& op = original_[i];
      const size_t stage = stage_of_[i];
      for (const ValueId id : op.operands) {
        const auto found = uses.find(id);
        if (found == uses.end()) continue;
        if (op.role == OpRole::forward) {
          found->second.last_forward = stage;
        } else {
          found->second.first_later = std::min(found->second.first_later, stage);
          found->second.last_later = stage;
        }
      }
      if (op.role != OpRole::forward) continue;
      for (const ValueId id : op.results)
        if (graph_.value(id).kind == ValueKind::activation && graph_.value(id).bytes() >= kLeastBytes &&
            uses.emplace(id, Uses{stage, SIZE_MAX, 0}).second)
          made.push_back(id);
    }
    for (const ValueId id : graph_.outputs) uses.erase(id);
    leaving_.resize(begins_.size());
    arriving_.resize(begins_.size());
    for (const ValueId id : made) {
      const auto found = uses.find(id);
      if (found == uses.end()) continue;
      const Uses& use = found->second;
      if (use.first_later != use.last_later || use.first_later < use.last_forward + kLeastDistance) continue;
      const int layer = original_[begins_[use.first_later]].layer;
      if (layer < 0 || layer >= layers_) continue;
      leaving_[use.last_forward].push_back(id);
      arriving_[use.first_later].push_back(id);
    }
  }

  TransferAttrs attrs_of(ValueId id) const {
    const Value& value = graph_.value(id);
    TransferAttrs attrs;
    attrs.tensor = "activation." + std::to_string(id) + "." + value.name;
    attrs.dtype = value.dtype;
    attrs.shape = value.shape;
    attrs.activation = true;
    return attrs;
  }

  void write(ValueId id, int layer) {
    add_op(graph_,
           {OpKind::offload_tensor, {id}, attrs_of(id), "offload." + graph_.value(id).name, OpRole::transfer, layer});
  }
  void fetch(ValueId id, int layer) {
    here_[id] = add_op(
        graph_,
        {OpKind::prefetch_tensor, {}, attrs_of(id), "fetch." + graph_.value(id).name, OpRole::transfer, layer})[0];
  }
  void await(const std::vector<ValueId>& values, int layer) {
    std::vector<ValueId> fetched;
    for (const ValueId id : values) fetched.push_back(here_.at(id));
    if (!fetched.empty()) wait(fetched, layer);
  }
  void wait(const std::vector<ValueId>& values, int layer) {
    add_op(graph_,
           {OpKind::await_tensors, values, {}, "await." + graph_.value(values.front()).name, OpRole::transfer, layer});
  }

  Graph& graph_;
  int64_t layers_;
  std::vector<Op> original_;
  std::vector<size_t> begins_;                            // of the stages, and the end
  std::vector<size_t> stage_of_;                          // by op
  std::vector<std::vector<ValueId>> leaving_, arriving_;  // by stage of the last forward use, of the first later one
  std::unordered_map<ValueId, ValueId> here_;             // value → what was read again
};

}  // namespace

void stream_inputs(Graph& graph, int64_t layers) {
  if (layers > 0 && !graph.ops.empty()) InputStreamer(graph, layers).run();
}

std::vector<OffloadedTensor> offloaded_tensors(const Graph& graph) {
  std::vector<OffloadedTensor> tensors;
  for (const Op& op : graph.ops)
    if (op.kind == OpKind::offload_tensor)
      tensors.push_back({op.attributes<TransferAttrs>().tensor, graph.value(op.operands[0]).bytes()});
  return tensors;
}

}  // namespace plimsoll
