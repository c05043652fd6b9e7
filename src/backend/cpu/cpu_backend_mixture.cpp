#include <algorithm>

#include "backend/cpu/cpu_adapters.h"
#include "backend/cpu/matmul/grouped_matmul.h"
#include "backend/cpu/matmul/linear_cross_entropy.h"
#include "backend/cpu/mixture/clamped_swiglu.h"
#include "backend/cpu/mixture/expert_rows.h"
#include "backend/cpu/mixture/route.h"
#include "backend/cpu/mixture/route_balance.h"
#include "backend/cpu/rows/elementwise.h"

namespace plimsoll::cpu_adapters {
namespace {

cpu::RouteSpec route_spec(const RouteAttrs& attrs, const Value& logits) {
  using Score = cpu::RouteSpec::Score;
  const Score score = attrs.score == RouterScore::softmax          ? Score::softmax
                      : attrs.score == RouterScore::chosen_softmax ? Score::chosen_softmax
                      : attrs.score == RouterScore::sparse_mixer   ? Score::sparse_mixer
                                                                   : Score::sigmoid;
  return {logits.shape[0], attrs.experts,     attrs.top_k, score,           attrs.normalize,
          attrs.groups,    attrs.groups_kept, attrs.scale, attrs.threshold, logits.dtype};
}

cpu::ExpertRows rows_of(const Value& rows, const Value& slots) {
  return {slots.shape[0], slots.shape[1], rows.shape[1], rows.dtype};
}

// x is operand 0 of the product, or operand 1 of its weights' gradient.
cpu::GroupedMatmulSpec grouped_spec(const Graph& graph, const Op& op) {
  const auto& attrs = op.attributes<GroupedLinearAttrs>();
  const bool gradient = op.kind == OpKind::grouped_linear_grad_weight;
  const Value& x = graph.value(op.operands[gradient ? 1 : 0]);
  const Value& y = graph.value(gradient ? op.operands[0] : op.results[0]);
  cpu::GroupedMatmulSpec spec{attrs.experts, x.shape[0], x.shape[1], y.shape[1], attrs.transpose_weight, x.dtype, {}};
  if (gradient) return spec;
  if (const DType weight = graph.value(op.operands.back()).dtype; is_packed(weight)) spec.packed = weight;
  return spec;
}

}  // namespace

void clamped_swiglu(const KernelContext& c) {
  const auto& attrs = c.op.attributes<ClampedSwigluAttrs>();
  cpu::clamped_swiglu_forward(c.pool, attrs.alpha, attrs.limit, c.operand(0).dtype, c.result(0).shape.elements(),
                              c.operands[0], c.results[0]);
}

void clamped_swiglu_grad(const KernelContext& c) {
  const auto& attrs = c.op.attributes<ClampedSwigluAttrs>();
  cpu::clamped_swiglu_backward(c.pool, attrs.alpha, attrs.limit, c.operand(1).dtype, c.operand(0).shape.elements(),
                               c.operands[0], c.operands[1], c.results[0]);
}

void route(const KernelContext& c) {
  cpu::route_forward(c.pool, route_spec(c.op.attributes<RouteAttrs>(), c.operand(0)), c.operands[0],
                     c.has_operand(1) ? c.in<float>(1) : nullptr, c.out<float>(0), c.out<int32_t>(1), c.out<int32_t>(2),
                     c.out<int32_t>(3));
}

void route_grad(const KernelContext& c) {
  cpu::route_backward(c.pool, route_spec(c.op.attributes<RouteAttrs>(), c.operand(1)), c.in<float>(0), c.operands[1],
                      c.in<float>(2), c.in<int32_t>(3), c.result(0).dtype, c.results[0]);
}

int64_t route_balance_workspace(const Op& op) {
  const auto& attrs = op.attributes<RouteBalanceAttrs>();
  return cpu::route_balance_workspace_bytes({0, attrs.experts, attrs.top_k, 0},
                                            static_cast<int64_t>(op.operands.size() - 3) / 2);
}

void route_balance(const KernelContext& c) {
  const auto& attrs = c.op.attributes<RouteBalanceAttrs>();
  const int64_t rows = c.operand(0).shape[0];
  const auto* const labels = c.in<int32_t>(1);
  const auto counted = rows - std::count(labels, labels + rows, cpu::kIgnoredLabel);
  cpu::route_balance_forward(c.pool, {rows, attrs.experts, attrs.top_k, attrs.weight}, c.operands.subspan(3),
                             c.in<int32_t>(0), static_cast<double>(*c.in<float>(2)) * static_cast<double>(counted),
                             c.out<float>(0), c.out<float>(1), c.workspace.data());
}

void route_balance_grad(const KernelContext& c) {
  const auto& attrs = c.op.attributes<RouteBalanceAttrs>();
  cpu::route_balance_backward(c.pool, {c.operand(2).shape[0], attrs.experts, attrs.top_k, attrs.weight}, c.in<float>(0),
                              c.in<int32_t>(1), c.in<float>(2), c.result(0).dtype, c.results[0]);
}

void expert_gather(const KernelContext& c) {
  cpu::expert_gather(c.pool, rows_of(c.operand(0), c.operand(1)), c.operands[0], c.in<int32_t>(1), c.results[0]);
}

void expert_gather_grad(const KernelContext& c) {
  const bool accumulate = c.has_operand(2);
  if (accumulate && c.operands[2] != c.results[0])
    cpu::scale(c.pool, c.result(0).dtype, c.result(0).shape.elements(), c.operands[2], 1.0F, c.results[0]);
  cpu::expert_combine(c.pool, rows_of(c.operand(0), c.operand(1)), c.operands[0], nullptr, c.in<int32_t>(1), accumulate,
                      c.results[0]);
}

void grouped_linear(const KernelContext& c) {
  const auto& attrs = c.op.attributes<GroupedLinearAttrs>();
  const size_t addend = attrs.has_bias ? 3 : 2, first = addend + (attrs.has_addend ? 1 : 0);
  if (attrs.has_addend && c.operands[addend] != c.results[0])
    cpu::scale(c.pool, c.result(0).dtype, c.result(0).shape.elements(), c.operands[addend], 1.0F, c.results[0]);
  cpu::grouped_matmul(c.pool, grouped_spec(c.graph, c.op), c.in<int32_t>(1), c.operands[0],
                      {c.operands.subspan(first), attrs.fused}, attrs.has_bias ? c.operands[2] : nullptr,
                      attrs.has_addend, c.results[0], c.workspace.data());
}

void grouped_linear_grad_weight(const KernelContext& c) {
  cpu::grouped_matmul_weight_gradient(
      c.pool, grouped_spec(c.graph, c.op), c.in<int32_t>(2), c.operands[0], c.operands[1],
      {c.operands.subspan(3), c.op.attributes<GroupedLinearAttrs>().fused}, c.workspace.data());
}

void grouped_bias_grad(const KernelContext& c) {
  const Value& dy = c.operand(0);
  const cpu::GroupedMatmulSpec spec{c.operand(1).shape[0] - 1, dy.shape[0], 0, dy.shape[1], true, dy.dtype, {}};
  cpu::grouped_bias_gradient(c.pool, spec, c.in<int32_t>(1), c.operands[0], c.in<float>(2));
}

void expert_combine(const KernelContext& c) {
  cpu::expert_combine(c.pool, rows_of(c.operand(0), c.operand(2)), c.operands[0], c.in<float>(1), c.in<int32_t>(2),
                      false, c.results[0]);
}

void expert_combine_grad(const KernelContext& c) {
  cpu::expert_combine_backward(c.pool, rows_of(c.operand(1), c.operand(3)), c.operands[0], c.operands[1],
                               c.in<float>(2), c.in<int32_t>(3), c.results[0], c.out<float>(1));
}

int64_t grouped_linear_workspace(const Graph& graph, const Op& op, int threads) {
  return cpu::grouped_matmul_workspace_bytes(grouped_spec(graph, op), op.kind == OpKind::grouped_linear_grad_weight,
                                             threads);
}

}  // namespace plimsoll::cpu_adapters
