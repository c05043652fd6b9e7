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
OpDef cached_attention_def();
OpDef gated_activation_def();
OpDef gated_activation_grad_def();
OpDef activation_def();
OpDef activation_grad_def();
OpDef add_def();
OpDef linear_cross_entropy_def();
OpDef linear_cross_entropy_grad_def();
OpDef gather_rows_def();
OpDef cast_def();
OpDef fill_zero_def();
OpDef clip_coefficient_def();
OpDef optimizer_update_def();
OpDef load_tensor_def();
OpDef init_tensor_def();
OpDef save_tensor_def();

}  // namespace plimsoll
