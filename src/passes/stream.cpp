#include "passes/stream.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "ops/op_def.h"
#include "passes/rewrite.h"

namespace plimsoll {
namespace {

// Ops [begin, end) of one layer.
struct Stage {
  size_t begin, end;
  int layer;
  std::vector<ValueId> weights;  // streamed, that it reads
};

std::vector<Stage> stages_of(const std::vector<Op>& ops, const std::unordered_set<ValueId>& streamed) {
  std::vector<Stage> stages;
  for (size_t i = 0; i < ops.size(); ++i) {
    if (stages.empty() || stages.back().layer != ops[i].layer) stages.push_back({i, i, ops[i].layer, {}});
    Stage& stage = stages.back();
    stage.end = i + 1;
    for (const ValueId id : ops[i].operands)
      if (streamed.contains(id) && std::find(stage.weights.begin(), stage.weights.end(), id) == stage.weights.end())
        stage.weights.push_back(id);
  }
  return stages;
}

class Streamer {
 public:
  Streamer(Graph& graph, int64_t layers) : graph_(graph), original_(std::move(graph.ops)) {
    graph_.ops.clear();
    const std::vector<ValueId> streamed = streamed_parameters_of(original_, graph_, layers);
    stages_ = stages_of(original_, {streamed.begin(), streamed.end()});
  }

  void run() {
    for (size_t s = 0; s < stages_.size(); ++s) {
      if (s == 0) prefetch(0);
      if (s + 1 < stages_.size()) prefetch(s + 1);
      const Stage& stage = stages_[s];
      await(stage);
      for (size_t i = stage.begin; i < stage.end; ++i) {
        Op op = original_[i];
        for (ValueId& id : op.operands)
          if (const auto found = here_.find(id); found != here_.end()) id = found->second;
        graph_.ops.push_back(std::move(op));
      }
    }
    set_ops(graph_, std::move(graph_.ops));
    drop_unread_parameters();
  }

  static std::vector<ValueId> streamed_parameters_of(const std::vector<Op>& ops, const Graph& graph, int64_t layers) {
    std::vector<ValueId> found;
    std::unordered_map<ValueId, bool> suits;  // read by products of one streamed layer only
    for (const Op& op : ops)
      for (size_t i = 0; i < op.operands.size(); ++i) {
        const ValueId id = op.operands[i];
        if (id == kNoValue || graph.value(id).kind != ValueKind::parameter || graph.value(id).shape.rank() < 2)
          continue;
        const bool here =
            op.layer >= 0 && op.layer < layers && (op.kind == OpKind::linear || op.kind == OpKind::grouped_linear);
        const auto [place, is_new] = suits.emplace(id, here);
        if (is_new) found.push_back(id);
        place->second = place->second && here;
      }
    std::erase_if(found, [&](ValueId id) { return !suits.at(id); });
    return found;
  }

 private:
  void prefetch(size_t s) {
    const Stage& stage = stages_[s];
    for (const ValueId id : stage.weights) {
      // Still here from the stage that read weights last: the last layer's, across the loss.
      if (last_reader_ == stage.layer && here_.contains(id)) continue;
      const Value& weight = graph_.value(id);
      TransferAttrs attrs;
      attrs.tensor = weight.name;
      attrs.dtype = weight.dtype;
      attrs.shape = weight.shape;
      next_[id] = add_op(
          graph_, {OpKind::prefetch_tensor, {}, attrs, "prefetch." + weight.name, OpRole::transfer, stage.layer})[0];
    }
    if (!stage.weights.empty()) last_reader_ = stage.layer;
  }

  void await(const Stage& stage) {
    std::vector<ValueId> awaited;
    for (const ValueId id : stage.weights) {
      const auto found = next_.find(id);
      if (found == next_.end()) continue;
      awaited.push_back(found->second);
      here_[id] = found->second;
      next_.erase(found);
    }
    if (!awaited.empty())
      add_op(
          graph_,
          {OpKind::await_tensors, awaited, {}, "await." + std::to_string(stage.layer), OpRole::transfer, stage.layer});
  }

  // The resident values are gone; what reads nothing has no place in the arena.
  void drop_unread_parameters() {
    std::unordered_set<ValueId> read;
    for (const Op& op : graph_.ops) read.insert(op.operands.begin(), op.operands.end());
    for (const Stage& stage : stages_)
      for (const ValueId id : stage.weights)
        if (!read.contains(id)) {  // as remove_dead_ops leaves what nothing mentions
          Value& value = graph_.value(id);
          value.kind = ValueKind::input;
          value.dtype = DType::f32;
          value.shape = {0};
        }
  }

  Graph& graph_;
  std::vector<Op> original_;
  std::vector<Stage> stages_;
  std::unordered_map<ValueId, ValueId> here_, next_;  // parameter → the value that holds it now, soon
  int last_reader_ = -1;
};

}  // namespace

std::vector<ValueId> streamed_parameters(const Graph& graph, int64_t layers) {
  return Streamer::streamed_parameters_of(graph.ops, graph, layers);
}

void stream_weights(Graph& graph, int64_t layers) {
  if (layers > 0) Streamer(graph, layers).run();
}

}  // namespace plimsoll
