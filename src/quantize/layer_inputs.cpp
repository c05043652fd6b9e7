#include "quantize/layer_inputs.h"

#include <algorithm>
#include <numeric>

namespace plimsoll {
namespace {

const std::string& name_of_operand(const Graph& graph, const Op& op, size_t index) {
  return graph.value(op.operands[index]).name;
}

std::vector<int32_t> one_to_one(int64_t size) {
  std::vector<int32_t> places(static_cast<size_t>(size));
  std::iota(places.begin(), places.end(), 0);
  return places;
}

bool read_by_linears_alone(const Graph& graph, const SharedInput& shared) {
  size_t readers = 0;
  for (const Op& op : graph.ops)
    readers += static_cast<size_t>(std::count(op.operands.begin(), op.operands.end(), shared.input));
  const bool leaves = std::find(graph.outputs.begin(), graph.outputs.end(), shared.input) != graph.outputs.end();
  return readers == shared.weights.size() && !leaves;
}

bool read_once(const Graph& graph, ValueId id) {
  size_t readers = 0;
  for (const Op& op : graph.ops) readers += static_cast<size_t>(std::count(op.operands.begin(), op.operands.end(), id));
  return readers == 1;
}

// The rows of a linear that makes `value`, which nobody else reads.
bool fold_into_linear(const Graph& graph, ValueId value, SharedInput& shared) {
  const int producer = graph.value(value).producer;
  if (producer < 0 || !read_once(graph, value)) return false;
  const Op& op = graph.ops[static_cast<size_t>(producer)];
  if (op.kind != OpKind::linear) return false;
  const auto& attrs = op.attributes<LinearAttrs>();
  if (!attrs.transpose_weight || attrs.has_addend || graph.value(op.operands[1]).kind != ValueKind::parameter)
    return false;
  shared.matrix = name_of_operand(graph, op, 1);
  if (attrs.has_bias) shared.vectors.push_back(name_of_operand(graph, op, 2));
  return true;
}

void find_fold(const Graph& graph, SharedInput& shared) {
  const int producer = graph.value(shared.input).producer;
  if (producer < 0 || !read_by_linears_alone(graph, shared)) return;
  const Op& op = graph.ops[static_cast<size_t>(producer)];
  if (op.kind == OpKind::rms_norm || op.kind == OpKind::layer_norm) {
    // A norm of heads has shorter weights than its rows.
    if (op.operands[1] == kNoValue || graph.value(op.operands[1]).shape[0] != shared.size) return;
    for (size_t i = 1; i < op.operands.size(); ++i) shared.vectors.push_back(name_of_operand(graph, op, i));
    if (op.kind == OpKind::rms_norm) shared.weight_offset = op.attributes<RmsNormAttrs>().weight_offset;
    shared.places = one_to_one(shared.size);
  } else if (op.kind == OpKind::gated_activation) {
    if (fold_into_linear(graph, op.operands[1], shared)) shared.places = one_to_one(shared.size);
  } else if (op.kind == OpKind::attention) {
    const auto& attrs = op.attributes<AttentionAttrs>();
    if (attrs.qkv.fused() || op.operands[2] == kNoValue) return;
    if (!fold_into_linear(graph, op.operands[2], shared)) return;
    const int64_t width = attrs.values(), shares = attrs.heads / attrs.kv_heads;
    for (int64_t j = 0; j < shared.size; ++j)
      shared.places.push_back(static_cast<int32_t>(j / width / shares * width + j % width));
  }
}

}  // namespace

std::vector<SharedInput> find_shared_inputs(const ForwardPiece& piece,
                                            const std::map<std::string, PackedFormat>& formats) {
  const Graph& graph = piece.graph;
  std::vector<SharedInput> found;
  for (const Op& op : graph.ops) {
    if (op.kind != OpKind::linear || !formats.contains(name_of_operand(graph, op, 1))) continue;
    auto shared = std::find_if(found.begin(), found.end(),
                               [&](const SharedInput& known) { return known.input == op.operands[0]; });
    if (shared == found.end()) {
      found.push_back({op.operands[0], graph.value(op.operands[0]).shape[1], {}, {}, {}, 0, {}});
      shared = found.end() - 1;
    }
    shared->weights.push_back(name_of_operand(graph, op, 1));
  }
  for (SharedInput& shared : found) find_fold(graph, shared);
  return found;
}

}  // namespace plimsoll
