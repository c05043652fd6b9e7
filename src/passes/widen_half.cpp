#include "passes/widen_half.h"

#include <algorithm>
#include <unordered_map>

#include "ops/op_def.h"
#include "passes/rewrite.h"

namespace plimsoll {
namespace {

bool takes_half(OpKind kind) {
  switch (kind) {
    case OpKind::convert:
    case OpKind::cast:
    case OpKind::fake_quant:
    case OpKind::fill_zero:
    case OpKind::optimizer_update:
    case OpKind::load_tensor:
    case OpKind::init_tensor:
    case OpKind::save_tensor:
    case OpKind::lay_out_tensor:
    case OpKind::offload_tensor:
    case OpKind::prefetch_tensor:
    case OpKind::await_tensors:
      return true;
    default:
      return false;
  }
}

// Attributes that name the dtype of a result.
void widen_attributes(OpAttrs& attrs) {
  const auto widen = [](std::optional<DType>& dtype) {
    if (dtype == DType::f16) dtype = DType::f32;
  };
  if (auto* embedding = std::get_if<EmbeddingAttrs>(&attrs)) widen(embedding->result_dtype);
  if (auto* linear = std::get_if<LinearAttrs>(&attrs)) widen(linear->result_dtype);
  if (auto* route = std::get_if<RouteAttrs>(&attrs)) widen(route->gradient_dtype);
  if (auto* balance = std::get_if<RouteBalanceAttrs>(&attrs)) widen(balance->gradient_dtype);
}

}  // namespace

void widen_half(Graph& graph) {
  if (std::ranges::none_of(graph.values, [](const Value& value) { return value.dtype == DType::f16; })) return;
  const std::vector<Op> original = std::move(graph.ops);
  graph.ops.clear();
  const auto is_half = [&](ValueId id) {
    return id != kNoValue && graph.value(id).dtype == DType::f16 && graph.value(id).kind != ValueKind::cache;
  };
  for (const Op& source : original) {
    Op op = source;
    if (takes_half(op.kind)) {
      graph.ops.push_back(std::move(op));
      continue;
    }
    std::unordered_map<ValueId, ValueId> wide;
    for (ValueId& id : op.operands) {
      if (!is_half(id)) continue;
      auto found = wide.find(id);
      if (found == wide.end()) {
        const ValueId copy = add_op(
            graph,
            {OpKind::convert, {id}, ConvertAttrs{DType::f32}, graph.value(id).name + ".f32", op.role, op.layer})[0];
        found = wide.emplace(id, copy).first;
      }
      id = found->second;
    }
    widen_attributes(op.attrs);
    std::vector<Op> narrowing;
    for (ValueId& id : op.results) {
      if (!is_half(id)) continue;
      const ValueId half = id;
      Value value = graph.value(half);
      value.name += ".f32";
      value.dtype = DType::f32;
      id = add_value(graph, std::move(value));
      narrowing.push_back(
          {OpKind::convert, {id}, {half}, ConvertAttrs{DType::f16}, op.role, op.layer, op.name + ".f16"});
    }
    graph.ops.push_back(std::move(op));
    for (Op& convert : narrowing) graph.ops.push_back(std::move(convert));
  }
  set_ops(graph, std::move(graph.ops));
}

}  // namespace plimsoll
