#include <algorithm>

#include "backend/cpu/cpu_adapters.h"
#include "backend/cpu/matmul/linear_cross_entropy.h"
#include "backend/cpu/matmul/matmul.h"
#include "backend/cpu/rows/elementwise.h"

namespace plimsoll::cpu_adapters {
namespace {

cpu::MatmulSpec linear_spec(const Graph& graph, const Op& op) {
  const auto& attrs = op.attributes<LinearAttrs>();
  const Value& x = graph.value(op.operands[0]);
  const Value& weight = graph.value(op.operands[1]);
  const Value& y = graph.value(op.results[0]);
  cpu::MatmulSpec spec;
  spec.m = y.shape[0];
  spec.k = x.shape[attrs.transpose_x ? 0 : 1];
  spec.n = y.shape[1];
  spec.transpose_a = attrs.transpose_x;
  spec.a = x.dtype;
  spec.b = weight.dtype;
  spec.c = y.dtype;
  spec.transpose_b = attrs.transpose_weight;
  spec.accumulate = attrs.has_addend;
  spec.alpha = attrs.alpha;
  spec.has_bias = attrs.has_bias;
  if (attrs.has_bias) spec.bias = graph.value(op.operands[2]).dtype;
  return spec;
}

// accumulator (N, K) += dyᵀ x, or (K, N) += xᵀ dy; `accumulate` false: =.
cpu::MatmulSpec grad_weight_spec(const Graph& graph, const Op& op, bool accumulate = true) {
  const auto& attrs = op.attributes<LinearAttrs>();
  const Value& dy = graph.value(op.operands[0]);
  const Value& x = graph.value(op.operands[1]);
  cpu::MatmulSpec spec;
  spec.k = dy.shape[0];
  spec.m = attrs.transpose_weight ? dy.shape[1] : x.shape[1];
  spec.n = attrs.transpose_weight ? x.shape[1] : dy.shape[1];
  spec.a = dy.dtype;
  spec.b = x.dtype;
  spec.c = DType::f32;
  spec.transpose_a = true;
  spec.accumulate = accumulate;
  spec.alpha = attrs.alpha;
  return spec;
}

cpu::LinearCrossEntropySpec cross_entropy_spec(const Graph& graph, const Op& op) {
  const Value& hidden = graph.value(op.operands[0]);
  const Value& weight = graph.value(op.operands[1]);
  const bool gradients = op.kind == OpKind::linear_cross_entropy_grad;
  return {hidden.shape[0],
          hidden.shape[1],
          weight.shape[0],
          op.attributes<CrossEntropyAttrs>().chunk_rows,
          hidden.dtype,
          weight.dtype,
          gradients,
          gradients && op.operands[4] != kNoValue,
          op.attributes<CrossEntropyAttrs>().has_bias ? graph.value(op.operands[gradients ? 5 : 4]).dtype : DType::f32,
          op.attributes<CrossEntropyAttrs>().softcap};
}

}  // namespace

void linear(const KernelContext& c) {
  const auto& attrs = c.op.attributes<LinearAttrs>();
  if (attrs.has_addend) {
    const size_t addend = attrs.has_bias ? 3 : 2;
    if (c.operands[addend] != c.results[0])
      cpu::scale(c.pool, c.result(0).dtype, c.result(0).shape.elements(), c.operands[addend], 1.0F, c.results[0]);
  }
  cpu::Matmul(linear_spec(c.graph, c.op))
      .run(c.pool, c.operands[0], c.operands[1], c.results[0], attrs.has_bias ? c.operands[2] : nullptr,
           c.workspace.data());
}

void linear_grad_weight(const KernelContext& c) {
  const auto& attrs = c.op.attributes<LinearAttrs>();
  const bool transposed = attrs.transpose_weight;
  cpu::Matmul(grad_weight_spec(c.graph, c.op, !(attrs.starts_sum && c.state.first_micro_batch)))
      .run(c.pool, c.operands[transposed ? 0 : 1], c.operands[transposed ? 1 : 0], c.operands[2], nullptr,
           c.workspace.data());
}

void bias_grad(const KernelContext& c) {
  const Value& dy = c.operand(0);
  cpu::bias_grad(c.pool, dy.dtype, dy.shape[0], dy.shape[1], c.operands[0], c.in<float>(1), c.workspace.data());
}

void linear_cross_entropy(const KernelContext& c) {
  *c.out<float>(0) = 0;
  cpu::LinearCrossEntropyTensors tensors;
  tensors.hidden = c.operands[0];
  tensors.weight = c.operands[1];
  tensors.labels = c.in<int32_t>(2);
  tensors.loss_scale = c.in<float>(3);
  tensors.loss_sum = c.out<float>(0);
  if (c.op.attributes<CrossEntropyAttrs>().has_bias) tensors.bias = c.operands[4];
  cpu::linear_cross_entropy(c.pool, cross_entropy_spec(c.graph, c.op), tensors, c.workspace.data());
}

void linear_cross_entropy_grad(const KernelContext& c) {
  *c.out<float>(0) = 0;
  cpu::LinearCrossEntropyTensors tensors;
  tensors.hidden = c.operands[0];
  tensors.weight = c.operands[1];
  tensors.labels = c.in<int32_t>(2);
  tensors.loss_scale = c.in<float>(3);
  tensors.loss_sum = c.out<float>(0);
  tensors.d_hidden = c.results[1];
  if (c.has_operand(4)) tensors.d_weight = c.in<float>(4);
  if (c.op.attributes<CrossEntropyAttrs>().has_bias) tensors.bias = c.operands[5];
  if (c.has_operand(6)) tensors.d_bias = c.in<float>(6);
  cpu::linear_cross_entropy(c.pool, cross_entropy_spec(c.graph, c.op), tensors, c.workspace.data());
}

int64_t linear_workspace(const Graph& graph, const Op& op, int threads) {
  return cpu::matmul_workspace_bytes(linear_spec(graph, op), threads);
}

int64_t linear_grad_weight_workspace(const Graph& graph, const Op& op, int threads) {
  const int64_t bytes = cpu::matmul_workspace_bytes(grad_weight_spec(graph, op), threads);
  if (!op.attributes<LinearAttrs>().starts_sum) return bytes;
  return std::max(bytes, cpu::matmul_workspace_bytes(grad_weight_spec(graph, op, false), threads));
}

int64_t bias_grad_workspace(const Graph& graph, const Op& op) {
  const Value& dy = graph.value(op.operands[0]);
  return cpu::bias_grad_workspace_bytes(dy.shape[0], dy.shape[1]);
}

int64_t linear_cross_entropy_workspace(const Graph& graph, const Op& op, int threads) {
  return cpu::linear_cross_entropy_workspace_bytes(cross_entropy_spec(graph, op), threads);
}

void prepare_matmuls(const Graph& graph, const Op& op) {
  if (op.kind == OpKind::linear) cpu::prepare_matmul(linear_spec(graph, op));
  if (op.kind == OpKind::linear_grad_weight) {
    cpu::prepare_matmul(grad_weight_spec(graph, op));
    if (op.attributes<LinearAttrs>().starts_sum) cpu::prepare_matmul(grad_weight_spec(graph, op, false));
  }
  if (op.kind == OpKind::linear_cross_entropy || op.kind == OpKind::linear_cross_entropy_grad)
    cpu::prepare_linear_cross_entropy(cross_entropy_spec(graph, op));
  if (op.kind == OpKind::grouped_linear || op.kind == OpKind::grouped_linear_grad_weight)
    grouped_linear_workspace(graph, op, 1);  // makes the products that it counts
}

}  // namespace plimsoll::cpu_adapters
