#include <cstring>

#include "backend/cpu/cpu_adapters.h"
#include "backend/cpu/elementwise.h"
#include "backend/cpu/embedding.h"
#include "backend/cpu/rms_norm.h"
#include "backend/cpu/rope.h"
#include "backend/cpu/swiglu.h"
#include "base/error.h"

namespace plimsoll::cpu_adapters {
namespace {

cpu::RmsNormSpec norm_spec(const Value& x, const Value& weight, const RmsNormAttrs& attrs) {
  const int64_t width = weight.shape[0];
  return {x.shape.elements() / width, width, x.dtype, weight.dtype, attrs.eps, attrs.weight_offset};
}

cpu::GatedActivation activation_of(const Op& op) {
  switch (op.attributes<GatedActivationAttrs>().activation) {
    case Activation::silu:
      return cpu::GatedActivation::silu;
    case Activation::gelu_tanh:
      return cpu::GatedActivation::gelu_tanh;
    case Activation::gelu_erf:
      return cpu::GatedActivation::gelu_erf;
  }
  return cpu::GatedActivation::silu;
}

}  // namespace

void embedding(const KernelContext& c) {
  const Value& weight = c.operand(1);
  const cpu::EmbeddingSpec spec{c.operand(0).shape[0], weight.shape[0], weight.shape[1],
                                c.result(0).dtype,     weight.dtype,    c.op.attributes<EmbeddingAttrs>().scale};
  cpu::embedding_forward(c.pool, spec, c.in<int32_t>(0), c.operands[1], c.results[0]);
}

void embedding_grad(const KernelContext& c) {
  const Value& accumulator = c.operand(2);
  const cpu::EmbeddingSpec spec{c.operand(1).shape[0], accumulator.shape[0], accumulator.shape[1],
                                c.operand(0).dtype,    DType::f32,           c.op.attributes<EmbeddingAttrs>().scale};
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

void rope_table(const KernelContext& c) {
  cpu::rope_table(c.pool, c.operand(0).shape[0], c.operand(1).shape[0], c.in<int32_t>(0), c.in<float>(1),
                  c.op.attributes<RopeTableAttrs>().attention_scaling, c.out<float>(0), c.out<float>(1));
}

void rope(const KernelContext& c) {
  const auto& attrs = c.op.attributes<RopeAttrs>();
  const cpu::RopeSpec spec{
      c.operand(0).shape[0], attrs.heads, attrs.head_dim, attrs.rotary_dim, attrs.style == RopeStyle::interleaved,
      c.operand(0).dtype};
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

void gather_rows(const KernelContext& c) {
  PLIMSOLL_CHECK(c.state.row >= 0 && c.state.row < c.operand(0).shape[0], "the row to gather is outside the batch");
  const int64_t bytes = c.result(0).bytes();
  std::memcpy(c.results[0], c.operands[0] + c.state.row * bytes, static_cast<size_t>(bytes));
}

}  // namespace plimsoll::cpu_adapters
