#include <cstring>

#include "backend/cpu/cpu_adapters.h"
#include "backend/cpu/rows/activation.h"
#include "backend/cpu/rows/elementwise.h"
#include "backend/cpu/rows/embedding.h"
#include "backend/cpu/rows/layer_norm.h"
#include "backend/cpu/rows/rms_norm.h"
#include "backend/cpu/rows/rope.h"
#include "backend/cpu/rows/split_columns.h"
#include "backend/cpu/rows/swiglu.h"
#include "base/error.h"

namespace plimsoll::cpu_adapters {
namespace {

cpu::RmsNormSpec norm_spec(const Value& x, const Value& weight, const RmsNormAttrs& attrs) {
  const int64_t width = weight.shape[0];
  return {x.shape.elements() / width, width, x.dtype, weight.dtype, attrs.eps, attrs.weight_offset};
}

cpu::ActivationKind kind_of(Activation activation) {
  switch (activation) {
    case Activation::silu:
      return cpu::ActivationKind::silu;
    case Activation::gelu_tanh:
      return cpu::ActivationKind::gelu_tanh;
    case Activation::gelu_erf:
      return cpu::ActivationKind::gelu_erf;
    case Activation::relu:
      return cpu::ActivationKind::relu;
    case Activation::quick_gelu:
      return cpu::ActivationKind::quick_gelu;
    case Activation::relu_squared:
      return cpu::ActivationKind::relu_squared;
  }
  return cpu::ActivationKind::silu;
}
cpu::ActivationKind activation_of(const Op& op) { return kind_of(op.attributes<GatedActivationAttrs>().activation); }

cpu::LayerNormSpec layer_norm_spec(const Op& op, const Value& x, const Value* weight, const Value& mean_rstd) {
  const int64_t rows = mean_rstd.shape[0];
  return {rows, x.shape.elements() / rows, x.dtype, weight == nullptr ? x.dtype : weight->dtype,
          op.attributes<LayerNormAttrs>().eps};
}
cpu::LayerNormSpec layer_norm_grad_spec(const Graph& graph, const Op& op) {
  const Value* weight = op.operands[2] == kNoValue ? nullptr : &graph.value(op.operands[2]);
  return layer_norm_spec(op, graph.value(op.operands[1]), weight, graph.value(op.operands[3]));
}

}  // namespace

void embedding(const KernelContext& c) {
  const Value& weight = c.operand(1);
  const auto& attrs = c.op.attributes<EmbeddingAttrs>();
  const cpu::EmbeddingSpec spec{c.operand(0).shape[0], weight.shape[0] - attrs.first_row,
                                weight.shape[1],       c.result(0).dtype,
                                weight.dtype,          attrs.scale,
                                attrs.first_row};
  cpu::embedding_forward(c.pool, spec, c.in<int32_t>(0), c.operands[1], c.results[0]);
}

void embedding_grad(const KernelContext& c) {
  const Value& accumulator = c.operand(2);
  const auto& attrs = c.op.attributes<EmbeddingAttrs>();
  const cpu::EmbeddingSpec spec{c.operand(1).shape[0],
                                accumulator.shape[0] - attrs.first_row,
                                accumulator.shape[1],
                                c.operand(0).dtype,
                                DType::f32,
                                attrs.scale,
                                attrs.first_row};
  cpu::embedding_backward(c.pool, spec, c.in<int32_t>(1), c.operands[0], c.in<float>(2));
}

void rms_norm(const KernelContext& c) {
  cpu::rms_norm_forward(c.pool, norm_spec(c.operand(0), c.operand(1), c.op.attributes<RmsNormAttrs>()), c.operands[0],
                        c.operands[1], c.results[0], c.out<float>(1));
}

void rms_norm_grad(const KernelContext& c) {
  const cpu::RmsNormSpec spec = norm_spec(c.operand(1), c.operand(2), c.op.attributes<RmsNormAttrs>());
  const bool accumulate = c.has_operand(4);
  if (accumulate && c.operands[4] != c.results[0])
    cpu::scale(c.pool, c.result(0).dtype, c.result(0).shape.elements(), c.operands[4], 1.0F, c.results[0]);
  cpu::rms_norm_backward(c.pool, spec, c.operands[0], c.operands[1], c.operands[2], c.in<float>(3), c.results[0],
                         accumulate, c.has_operand(5) ? c.in<float>(5) : nullptr, c.workspace.data());
}

int64_t rms_norm_grad_workspace(const Graph& graph, const Op& op) {
  if (op.operands[5] == kNoValue) return 0;
  return cpu::rms_norm_backward_workspace_bytes(
      norm_spec(graph.value(op.operands[1]), graph.value(op.operands[2]), op.attributes<RmsNormAttrs>()));
}

void layer_norm(const KernelContext& c) {
  cpu::layer_norm_forward(c.pool,
                          layer_norm_spec(c.op, c.operand(0), c.has_operand(1) ? &c.operand(1) : nullptr, c.result(1)),
                          c.operands[0], c.has_operand(1) ? c.operands[1] : nullptr,
                          c.has_operand(2) ? c.operands[2] : nullptr, c.results[0], c.out<float>(1));
}

void layer_norm_grad(const KernelContext& c) {
  const bool accumulate = c.has_operand(4);
  if (accumulate && c.operands[4] != c.results[0])
    cpu::scale(c.pool, c.result(0).dtype, c.result(0).shape.elements(), c.operands[4], 1.0F, c.results[0]);
  cpu::layer_norm_backward(c.pool, layer_norm_grad_spec(c.graph, c.op), c.operands[0], c.operands[1],
                           c.has_operand(2) ? c.operands[2] : nullptr, c.in<float>(3), c.results[0], accumulate,
                           c.has_operand(5) ? c.in<float>(5) : nullptr, c.has_operand(6) ? c.in<float>(6) : nullptr,
                           c.workspace.data());
}

int64_t layer_norm_grad_workspace(const Graph& graph, const Op& op) {
  if (op.operands[5] == kNoValue && op.operands[6] == kNoValue) return 0;
  return cpu::layer_norm_backward_workspace_bytes(layer_norm_grad_spec(graph, op));
}

void activation(const KernelContext& c) {
  cpu::activation_forward(c.pool, kind_of(c.op.attributes<ActivationAttrs>().activation), c.operand(0).dtype,
                          c.operand(0).shape.elements(), c.operands[0], c.results[0]);
}

void activation_grad(const KernelContext& c) {
  cpu::activation_backward(c.pool, kind_of(c.op.attributes<ActivationAttrs>().activation), c.operand(1).dtype,
                           c.operand(1).shape.elements(), c.operands[0], c.operands[1], c.results[0]);
}

void rope_table(const KernelContext& c) {
  const auto& attrs = c.op.attributes<RopeTableAttrs>();
  cpu::rope_table(c.pool, c.operand(0).shape[0], c.result(0).shape[1], c.in<int32_t>(0), c.in<float>(1) + attrs.first,
                  attrs.attention_scaling, c.out<float>(0), c.out<float>(1));
}

void rope(const KernelContext& c) {
  const auto& attrs = c.op.attributes<RopeAttrs>();
  cpu::RopeSpec spec{
      c.operand(0).shape[0], attrs.heads, attrs.head_dim, attrs.rotary_dim, attrs.style == RopeStyle::interleaved,
      c.operand(0).dtype};
  spec.offset = attrs.offset;
  if (attrs.qkv.fused()) {
    spec.row_stride = attrs.qkv.width;
    const int64_t group = attrs.heads / attrs.kv_heads;
    spec.parts[0] = {attrs.heads, attrs.qkv.q_column, group, attrs.qkv.group_stride};
    spec.parts[1] = {attrs.kv_heads, attrs.qkv.k_column, 1, attrs.qkv.kv_stride};
  }
  cpu::rope(c.pool, spec, c.operands[0], c.in<float>(1), c.in<float>(2), attrs.inverse ? -1 : 1, c.results[0]);
}

void gated_activation(const KernelContext& c) {
  cpu::swiglu_forward(c.pool, activation_of(c.op), c.operand(0).dtype, c.operand(0).shape.elements(), c.operands[0],
                      c.operands[1], c.results[0]);
}

void gated_activation_grad(const KernelContext& c) {
  cpu::swiglu_backward(c.pool, activation_of(c.op), c.operand(1).dtype, c.operand(1).shape.elements(), c.operands[0],
                       c.operands[1], c.operands[2], c.results[0], c.results[1],
                       c.results.size() > 2 ? c.results[2] : nullptr);
}

void add(const KernelContext& c) {
  cpu::add(c.pool, c.operand(0).dtype, c.operand(0).shape.elements(), c.operands[0], c.operands[1], c.results[0]);
}

void split_columns(const KernelContext& c) {
  cpu::split_columns(c.pool, c.operand(0).dtype, c.operand(0).shape[0], c.result(0).shape[1], c.result(1).shape[1],
                     c.operands[0], c.results[0], c.results[1]);
}

void split_columns_grad(const KernelContext& c) {
  cpu::join_columns(c.pool, c.operand(0).dtype, c.operand(0).shape[0], c.operand(0).shape[1], c.operand(1).shape[1],
                    c.operands[0], c.operands[1], c.results[0]);
}

void scale(const KernelContext& c) {
  cpu::scale(c.pool, c.operand(0).dtype, c.operand(0).shape.elements(), c.operands[0],
             c.op.attributes<ScaleAttrs>().factor, c.results[0]);
}

void softcap(const KernelContext& c) {
  cpu::softcap(c.pool, c.operand(0).dtype, c.operand(0).shape.elements(), c.operands[0],
               c.op.attributes<SoftcapAttrs>().cap, c.results[0]);
}

void gather_rows(const KernelContext& c) {
  PLIMSOLL_CHECK(c.state.row >= 0 && c.state.row < c.operand(0).shape[0], "the row to gather is outside the batch");
  const int64_t bytes = c.result(0).bytes();
  std::memcpy(c.results[0], c.operands[0] + c.state.row * bytes, static_cast<size_t>(bytes));
}

}  // namespace plimsoll::cpu_adapters
