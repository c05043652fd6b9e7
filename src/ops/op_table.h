// The rows of the op table, each defined in the file of its op.
#pragma once

#include "ops/op_def.h"

namespace plimsoll {

OpDef embedding_def();
OpDef embedding_grad_def();
OpDef rms_norm_def();
OpDef rms_norm_grad_def();
OpDef layer_norm_def();
OpDef layer_norm_grad_def();
OpDef linear_def();
OpDef linear_grad_weight_def();
OpDef bias_grad_def();
OpDef rope_table_def();
OpDef rope_def();
OpDef attention_def();
OpDef attention_grad_def();
OpDef attention_sink_grad_def();
OpDef cached_attention_def();
OpDef expand_latent_def();
OpDef expand_latent_grad_def();
OpDef gated_activation_def();
OpDef gated_activation_grad_def();
OpDef clamped_swiglu_def();
OpDef clamped_swiglu_grad_def();
OpDef route_def();
OpDef route_grad_def();
OpDef route_balance_def();
OpDef route_balance_grad_def();
OpDef expert_gather_def();
OpDef expert_gather_grad_def();
OpDef grouped_linear_def();
OpDef grouped_linear_grad_weight_def();
OpDef grouped_bias_grad_def();
OpDef expert_combine_def();
OpDef expert_combine_grad_def();
OpDef activation_def();
OpDef activation_grad_def();
OpDef add_def();
OpDef linear_cross_entropy_def();
OpDef linear_cross_entropy_grad_def();
OpDef gather_rows_def();
OpDef split_columns_def();
OpDef split_columns_grad_def();
OpDef scale_def();
OpDef softcap_def();
OpDef dropout_def();
OpDef dora_norm_def();
OpDef scale_columns_def();
OpDef scale_columns_grad_def();
OpDef convert_def();
OpDef cast_def();
OpDef fake_quant_def();
OpDef fill_zero_def();
OpDef begin_gradient_def();
OpDef square_sum_def();
OpDef clip_coefficient_def();
OpDef optimizer_update_def();
OpDef load_tensor_def();
OpDef init_tensor_def();
OpDef save_tensor_def();
OpDef lay_out_tensor_def();
OpDef offload_tensor_def();
OpDef prefetch_tensor_def();
OpDef await_tensors_def();

}  // namespace plimsoll
