#include "quantize/forward_pieces.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "ops/op_def.h"

namespace plimsoll {
namespace {

struct Cut {
  std::vector<size_t> piece_of_op;
  std::vector<bool> free;        // values that follow from inputs and constants
  std::vector<size_t> last_use;  // by value: the last piece that reads it
  size_t pieces = 0;
};

bool is_given(const Value& value) { return value.kind == ValueKind::input || value.kind == ValueKind::constant; }

Cut find_cut(const Graph& graph) {
  Cut cut;
  int layers = 0;
  for (const Op& op : graph.ops) layers = std::max(layers, op.layer + 1);
  cut.pieces = static_cast<size_t>(layers) + 2;
  cut.free.assign(graph.values.size(), false);
  cut.last_use.assign(graph.values.size(), 0);
  for (size_t i = 0; i < graph.values.size(); ++i) cut.free[i] = is_given(graph.values[i]);
  size_t at = 0;
  for (const Op& op : graph.ops) {
    const bool free = std::all_of(op.operands.begin(), op.operands.end(),
                                  [&](ValueId id) { return id == kNoValue || cut.free[static_cast<size_t>(id)]; });
    for (const ValueId id : op.results) cut.free[static_cast<size_t>(id)] = free;
    if (!free) {
      const size_t piece = op.layer >= 0 ? static_cast<size_t>(op.layer) + 1 : (at == 0 ? 0 : cut.pieces - 1);
      PLIMSOLL_CHECK(piece >= at, op.name + " is out of the order of the layers");
      at = piece;
    }
    cut.piece_of_op.push_back(at);
    for (const ValueId id : op.operands)
      if (id != kNoValue) cut.last_use[static_cast<size_t>(id)] = at;
  }
  return cut;
}

class PieceBuilder {
 public:
  PieceBuilder(const Graph& forward, const Cut& cut) : forward_(forward), cut_(cut) {}

  ValueId take(ValueId id) {
    if (id == kNoValue) return kNoValue;
    if (const auto known = taken_.find(id); known != taken_.end()) return known->second;
    const Value& value = forward_.value(id);
    if (value.producer >= 0 && cut_.free[static_cast<size_t>(id)]) {
      add(forward_.ops[static_cast<size_t>(value.producer)]);
      return taken_.at(id);
    }
    Value copy = value;
    if (value.producer >= 0) {  // an activation of a piece before
      copy.kind = ValueKind::input;
      copy.producer = -1;
    }
    return taken_[id] = add_value(piece.graph, std::move(copy));
  }

  void add(const Op& op) {
    Op copy = op;
    for (ValueId& id : copy.operands) id = take(id);
    for (ValueId& id : copy.results) {
      Value value = forward_.value(id);
      value.producer = static_cast<int>(piece.graph.ops.size());
      id = taken_[id] = add_value(piece.graph, std::move(value));
    }
    piece.graph.ops.push_back(std::move(copy));
  }

  ForwardPiece piece;

 private:
  const Graph& forward_;
  const Cut& cut_;
  std::map<ValueId, ValueId> taken_;
};

}  // namespace

std::vector<ForwardPiece> cut_forward(const Graph& forward) {
  const Cut cut = find_cut(forward);
  std::vector<ForwardPiece> pieces;
  std::vector<ValueId> carried;  // into the piece, as values of `forward`
  for (size_t p = 0; p < cut.pieces; ++p) {
    PieceBuilder builder(forward, cut);
    for (const ValueId id : carried) builder.piece.carried_in.push_back(builder.take(id));
    std::vector<ValueId> next;
    for (const ValueId id : carried)
      if (cut.last_use[static_cast<size_t>(id)] > p) next.push_back(id);
    for (size_t i = 0; i < forward.ops.size(); ++i) {
      const Op& op = forward.ops[i];
      if (cut.piece_of_op[i] != p || cut.free[static_cast<size_t>(op.results.at(0))]) continue;
      builder.add(op);
      for (const ValueId id : op.results)
        if (cut.last_use[static_cast<size_t>(id)] > p) next.push_back(id);
    }
    for (const ValueId id : next) builder.piece.carried_out.push_back(builder.take(id));
    builder.piece.graph.outputs = builder.piece.carried_out;
    if (p + 1 == cut.pieces)
      for (const ValueId id : forward.outputs) builder.piece.graph.outputs.push_back(builder.take(id));
    builder.piece.graph.phase = "piece." + std::to_string(p);
    pieces.push_back(std::move(builder.piece));
    carried = std::move(next);
  }
  return pieces;
}

std::vector<ValueId> append_graph(Graph& into, const Graph& from, const std::string& prefix) {
  std::vector<ValueId> places;
  const auto first_op = static_cast<int>(into.ops.size());
  for (Value value : from.values) {
    value.name = prefix + value.name;
    if (value.producer >= 0) value.producer += first_op;
    places.push_back(add_value(into, std::move(value)));
  }
  const auto move = [&](ValueId& id) {
    if (id != kNoValue) id = places[static_cast<size_t>(id)];
  };
  for (Op op : from.ops) {
    op.name = prefix + op.name;
    for (ValueId& id : op.operands) move(id);
    for (ValueId& id : op.results) move(id);
    into.ops.push_back(std::move(op));
  }
  for (ValueId id : from.outputs) {
    move(id);
    into.outputs.push_back(id);
  }
  return places;
}

}  // namespace plimsoll
