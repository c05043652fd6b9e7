// What the families of transformers differ in, as data. Shared by building and running a model.
#pragma once

#include <string>

#include "config/model_config.h"

namespace plimsoll::eager {

// Families with RMSNorm and a gated MLP.
struct RmsStyle {
  bool fused = false;       // Phi-3: qkv_proj and gate_up_proj
  bool head_norms = false;  // Qwen3, Gemma 3: norms of each head of q and k
  bool wide_norms = false;  // OLMo-2: norms of all of q and all of k
  bool sandwich = false;    // Gemma 2, 3: a norm after attention and after the MLP, too
  bool post_only = false;   // OLMo-2: norms after, none before
  bool gemma_norm = false;  // (1 + w), multiplied in f32
  bool scaled_embedding = false;
  bool wide_angles = false;  // OLMo-2: cos and sin stay f32, what they turned is cast back
  bool sinks = false;        // GPT-OSS: a trained score beside those of the keys; halves are turned one by one
  bool layer_norms = false;  // Phi-MoE: norms of layers and the last one have a mean and a bias
  bool both_masks = false;   // a mask for full and one for sliding layers are made, whichever a model has
};

// Families with LayerNorm and two products in the MLP.
struct LayerNormStyle {
  bool gpt2 = false, opt = false;
  bool fused = false;
  bool conv1d = false;
  bool one_norm = false;     // Phi-2, Falcon-7B: attention and MLP read one norm
  bool norms_first = false;  // of the modules
  std::string qkv_name = "self_attn.query_key_value", out_name = "self_attn.dense", up_name = "mlp.up",
              down_name = "mlp.down";
};

struct LayerNames {
  std::string qkv, out, up, down;
};

bool eager_family(const ModelConfig& config);
bool is_rms_family(const ModelConfig& config);
RmsStyle rms_style(const ModelConfig& config);
LayerNormStyle layer_norm_style(const ModelConfig& config);
LayerNames layer_names(const ModelConfig& config);
bool has_experts(const ModelConfig& config, size_t layer);

}  // namespace plimsoll::eager
