#include "ops/op_def.h"

#include "base/error.h"
#include "ops/op_table.h"

namespace plimsoll {
namespace {

std::array<OpDef, kOpKindCount> build_table() {
  const std::array<OpDef, kOpKindCount> table = {
      embedding_def(),
      embedding_grad_def(),
      rms_norm_def(),
      rms_norm_grad_def(),
      layer_norm_def(),
      layer_norm_grad_def(),
      linear_def(),
      linear_grad_weight_def(),
      bias_grad_def(),
      rope_table_def(),
      rope_def(),
      attention_def(),
      attention_grad_def(),
      attention_sink_grad_def(),
      cached_attention_def(),
      expand_latent_def(),
      expand_latent_grad_def(),
      gated_activation_def(),
      gated_activation_grad_def(),
      clamped_swiglu_def(),
      clamped_swiglu_grad_def(),
      route_def(),
      route_grad_def(),
      route_balance_def(),
      route_balance_grad_def(),
      expert_gather_def(),
      expert_gather_grad_def(),
      grouped_linear_def(),
      grouped_linear_grad_weight_def(),
      grouped_bias_grad_def(),
      expert_combine_def(),
      expert_combine_grad_def(),
      activation_def(),
      activation_grad_def(),
      add_def(),
      linear_cross_entropy_def(),
      linear_cross_entropy_grad_def(),
      gather_rows_def(),
      split_columns_def(),
      split_columns_grad_def(),
      scale_def(),
      softcap_def(),
      dropout_def(),
      dora_norm_def(),
      scale_columns_def(),
      scale_columns_grad_def(),
      convert_def(),
      cast_def(),
      fake_quant_def(),
      fill_zero_def(),
      begin_gradient_def(),
      square_sum_def(),
      clip_coefficient_def(),
      optimizer_update_def(),
      load_tensor_def(),
      init_tensor_def(),
      save_tensor_def(),
      lay_out_tensor_def(),
      offload_tensor_def(),
      prefetch_tensor_def(),
      await_tensors_def(),
  };
  for (int i = 0; i < kOpKindCount; ++i)
    PLIMSOLL_CHECK(static_cast<int>(table[static_cast<size_t>(i)].kind) == i,
                   "the op table follows the order of OpKind");
  return table;
}

}  // namespace

const OpDef& op_def(OpKind kind) {
  static const std::array<OpDef, kOpKindCount> table = build_table();
  return table[static_cast<size_t>(kind)];
}

OpCost op_cost(const Graph& graph, const Op& op) {
  OpCost cost;
  const OpDef& def = op_def(op.kind);
  if (def.flops != nullptr) cost.flops = def.flops(graph, op);
  for (const ValueId id : op.operands) {
    if (id == kNoValue) continue;
    const Value& value = graph.value(id);
    cost.bytes_accessed += value.bytes();
    const bool weight =
        value.kind == ValueKind::parameter || value.kind == ValueKind::adapter || value.kind == ValueKind::streamed;
    if (weight) cost.weight_bytes += value.bytes();
  }
  for (const ValueId id : op.results) cost.bytes_accessed += graph.value(id).bytes();
  return cost;
}

ValueId add_value(Graph& graph, Value value) {
  graph.values.push_back(std::move(value));
  return static_cast<ValueId>(graph.values.size() - 1);
}

std::vector<ValueId> add_op(Graph& graph, NewOp wanted) {
  Op op;
  op.kind = wanted.kind;
  op.operands = std::move(wanted.operands);
  op.attrs = std::move(wanted.attrs);
  op.role = wanted.role;
  op.layer = wanted.layer;
  op.name = std::move(wanted.name);
  const int index = static_cast<int>(graph.ops.size());
  for (Value& value : op_def(op.kind).infer(graph, op)) {
    value.name = value.name.empty() ? op.name : op.name + "." + value.name;
    value.producer = index;
    op.results.push_back(add_value(graph, std::move(value)));
  }
  graph.ops.push_back(std::move(op));
  return graph.ops.back().results;
}

}  // namespace plimsoll
