// One adapter per op, for the table in cpu_backend.cpp. Not for use elsewhere.
#pragma once

#include "runtime/executor.h"

namespace plimsoll::cpu_adapters {

// Row-wise and elementwise ops (cpu_backend_rows.cpp)
void embedding(const KernelContext& c);
void embedding_grad(const KernelContext& c);
void rms_norm(const KernelContext& c);
void rms_norm_grad(const KernelContext& c);
void layer_norm(const KernelContext& c);
void layer_norm_grad(const KernelContext& c);
void rope_table(const KernelContext& c);
void rope(const KernelContext& c);
void gated_activation(const KernelContext& c);
void gated_activation_grad(const KernelContext& c);
void activation(const KernelContext& c);
void activation_grad(const KernelContext& c);
void add(const KernelContext& c);
void gather_rows(const KernelContext& c);
void split_columns(const KernelContext& c);
void split_columns_grad(const KernelContext& c);
void scale(const KernelContext& c);
void softcap(const KernelContext& c);
void dropout(const KernelContext& c);
void dora_norm(const KernelContext& c);
void scale_columns(const KernelContext& c);
void scale_columns_grad(const KernelContext& c);
int64_t dora_norm_workspace(const Graph& graph, const Op& op);
int64_t rms_norm_grad_workspace(const Graph& graph, const Op& op);
int64_t layer_norm_grad_workspace(const Graph& graph, const Op& op);

// Ops around matmul (cpu_backend_matmul.cpp)
void linear(const KernelContext& c);
void linear_grad_weight(const KernelContext& c);
void bias_grad(const KernelContext& c);
void linear_cross_entropy(const KernelContext& c);
void linear_cross_entropy_grad(const KernelContext& c);
int64_t linear_workspace(const Graph& graph, const Op& op, int threads);
int64_t linear_grad_weight_workspace(const Graph& graph, const Op& op, int threads);
int64_t bias_grad_workspace(const Graph& graph, const Op& op);
int64_t linear_cross_entropy_workspace(const Graph& graph, const Op& op, int threads);
void prepare_matmuls(const Graph& graph, const Op& op);

// Attention (cpu_backend_attention.cpp)
void attention(const KernelContext& c);
void attention_grad(const KernelContext& c);
void cached_attention(const KernelContext& c);
int64_t attention_workspace(const Graph& graph, const Op& op, int threads);

// Multi-head latent attention's keys, sinks (cpu_backend_attention.cpp)
void attention_sink_grad(const KernelContext& c);
void expand_latent(const KernelContext& c);
void expand_latent_grad(const KernelContext& c);

// Mixtures of experts (cpu_backend_mixture.cpp)
void clamped_swiglu(const KernelContext& c);
void clamped_swiglu_grad(const KernelContext& c);
void route(const KernelContext& c);
void route_grad(const KernelContext& c);
void route_balance(const KernelContext& c);
void route_balance_grad(const KernelContext& c);
void expert_gather(const KernelContext& c);
void expert_gather_grad(const KernelContext& c);
void grouped_linear(const KernelContext& c);
void grouped_linear_grad_weight(const KernelContext& c);
void grouped_bias_grad(const KernelContext& c);
void expert_combine(const KernelContext& c);
void expert_combine_grad(const KernelContext& c);
int64_t route_balance_workspace(const Op& op);
int64_t grouped_linear_workspace(const Graph& graph, const Op& op, int threads);

// Optimizer and transfers (cpu_backend_update.cpp)
void cast(const KernelContext& c);
void convert(const KernelContext& c);
void fake_quant(const KernelContext& c);
void begin_gradient(const KernelContext& c);
void square_sum(const KernelContext& c);
int64_t square_sum_workspace(const Graph& graph, const Op& op);
void fill_zero(const KernelContext& c);
void clip_coefficient(const KernelContext& c);
void optimizer_update(const KernelContext& c);
void load_tensor(const KernelContext& c);
void init_tensor(const KernelContext& c);
void save_tensor(const KernelContext& c);
void lay_out_tensor(const KernelContext& c);
void offload_tensor(const KernelContext& c);
void prefetch_tensor(const KernelContext& c);
void await_tensors(const KernelContext& c);
int64_t clip_coefficient_workspace(const Graph& graph, const Op& op);
int64_t optimizer_update_workspace(const Graph& graph, const Op& op);

}  // namespace plimsoll::cpu_adapters
