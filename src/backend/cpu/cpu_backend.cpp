#include "backend/cpu/cpu_backend.h"

#include "backend/cpu/cpu_adapters.h"
#include "backend/cpu/simd/instructions.h"

namespace plimsoll {
namespace {

int64_t workspace_bytes(const Graph& graph, const Op& op, int threads) {
  using namespace cpu_adapters;
  switch (op.kind) {
    case OpKind::linear:
      return linear_workspace(graph, op, threads);
    case OpKind::linear_grad_weight:
      return linear_grad_weight_workspace(graph, op, threads);
    case OpKind::bias_grad:
      return bias_grad_workspace(graph, op);
    case OpKind::linear_cross_entropy:
    case OpKind::linear_cross_entropy_grad:
      return linear_cross_entropy_workspace(graph, op, threads);
    case OpKind::attention:
    case OpKind::attention_grad:
    case OpKind::cached_attention:
      return attention_workspace(graph, op, threads);
    case OpKind::grouped_linear:
    case OpKind::grouped_linear_grad_weight:
      return grouped_linear_workspace(graph, op, threads);
    case OpKind::route_balance:
      return route_balance_workspace(op);
    case OpKind::rms_norm_grad:
      return rms_norm_grad_workspace(graph, op);
    case OpKind::layer_norm_grad:
      return layer_norm_grad_workspace(graph, op);
    case OpKind::clip_coefficient:
      return clip_coefficient_workspace(graph, op);
    case OpKind::square_sum:
      return square_sum_workspace(graph, op);
    case OpKind::dora_norm:
      return dora_norm_workspace(graph, op);
    case OpKind::optimizer_update:
      return optimizer_update_workspace(graph, op);
    default:
      return 0;
  }
}

Backend build_backend() {
  cpu::limit_highway();
  namespace k = cpu_adapters;
  Backend backend;
  backend.workspace_bytes = workspace_bytes;
  const auto set = [&](OpKind kind, Kernel kernel) { backend.kernels[static_cast<size_t>(kind)] = kernel; };
  set(OpKind::embedding, k::embedding);
  set(OpKind::embedding_grad, k::embedding_grad);
  set(OpKind::rms_norm, k::rms_norm);
  set(OpKind::rms_norm_grad, k::rms_norm_grad);
  set(OpKind::layer_norm, k::layer_norm);
  set(OpKind::layer_norm_grad, k::layer_norm_grad);
  set(OpKind::linear, k::linear);
  set(OpKind::linear_grad_weight, k::linear_grad_weight);
  set(OpKind::bias_grad, k::bias_grad);
  set(OpKind::rope_table, k::rope_table);
  set(OpKind::rope, k::rope);
  set(OpKind::attention, k::attention);
  set(OpKind::attention_grad, k::attention_grad);
  set(OpKind::attention_sink_grad, k::attention_sink_grad);
  set(OpKind::expand_latent, k::expand_latent);
  set(OpKind::expand_latent_grad, k::expand_latent_grad);
  set(OpKind::clamped_swiglu, k::clamped_swiglu);
  set(OpKind::clamped_swiglu_grad, k::clamped_swiglu_grad);
  set(OpKind::route, k::route);
  set(OpKind::route_grad, k::route_grad);
  set(OpKind::route_balance, k::route_balance);
  set(OpKind::route_balance_grad, k::route_balance_grad);
  set(OpKind::expert_gather, k::expert_gather);
  set(OpKind::expert_gather_grad, k::expert_gather_grad);
  set(OpKind::grouped_linear, k::grouped_linear);
  set(OpKind::grouped_linear_grad_weight, k::grouped_linear_grad_weight);
  set(OpKind::grouped_bias_grad, k::grouped_bias_grad);
  set(OpKind::expert_combine, k::expert_combine);
  set(OpKind::expert_combine_grad, k::expert_combine_grad);
  set(OpKind::cached_attention, k::cached_attention);
  set(OpKind::gated_activation, k::gated_activation);
  set(OpKind::gated_activation_grad, k::gated_activation_grad);
  set(OpKind::activation, k::activation);
  set(OpKind::activation_grad, k::activation_grad);
  set(OpKind::add, k::add);
  set(OpKind::linear_cross_entropy, k::linear_cross_entropy);
  set(OpKind::linear_cross_entropy_grad, k::linear_cross_entropy_grad);
  set(OpKind::gather_rows, k::gather_rows);
  set(OpKind::split_columns, k::split_columns);
  set(OpKind::split_columns_grad, k::split_columns_grad);
  set(OpKind::scale, k::scale);
  set(OpKind::softcap, k::softcap);
  set(OpKind::dropout, k::dropout);
  set(OpKind::dora_norm, k::dora_norm);
  set(OpKind::scale_columns, k::scale_columns);
  set(OpKind::scale_columns_grad, k::scale_columns_grad);
  set(OpKind::convert, k::convert);
  set(OpKind::cast, k::cast);
  set(OpKind::fake_quant, k::fake_quant);
  set(OpKind::begin_gradient, k::begin_gradient);
  set(OpKind::square_sum, k::square_sum);
  set(OpKind::fill_zero, k::fill_zero);
  set(OpKind::clip_coefficient, k::clip_coefficient);
  set(OpKind::optimizer_update, k::optimizer_update);
  set(OpKind::load_tensor, k::load_tensor);
  set(OpKind::init_tensor, k::init_tensor);
  set(OpKind::save_tensor, k::save_tensor);
  set(OpKind::lay_out_tensor, k::lay_out_tensor);
  set(OpKind::offload_tensor, k::offload_tensor);
  set(OpKind::prefetch_tensor, k::prefetch_tensor);
  set(OpKind::await_tensors, k::await_tensors);
  return backend;
}

}  // namespace

CpuSpeed cpu_speed(DType compute) {
  // Measured: 2 threads of a Xeon with AMX, 2026-11-22, with ONEDNN_MAX_CPU_ISA. bf16 without its instructions is
  // widened to f32.
  const bool narrow = compute == DType::bf16;
  if (cpu::may_use_amx()) return {"amx", narrow ? 1.0e12 : 1.2e11};
  if (cpu::may_use_avx512_bf16()) return {"avx512-bf16", narrow ? 8.5e10 : 1.2e11};
  if (cpu::may_use_avx512()) return {"avx512", narrow ? 1.0e11 : 1.2e11};
  if (cpu::may_use_avx2()) return {"avx2", 7.0e10};
  return {"sse", 2.4e10};
}

const Backend& cpu_backend() {
  static const Backend backend = build_backend();
  return backend;
}

void prepare_cpu(const ExecutionPlan& plan) {
  for (const Op& op : plan.graph.ops) cpu_adapters::prepare_matmuls(plan.graph, op);
}

}  // namespace plimsoll
