// phi: Li et al. 2023 (arXiv:2309.05463) and Phi-2. Attention and MLP read one norm and stand beside each other; a part
// of each head turns; every linear has a bias, the head too.
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_phi(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;
  const int64_t query_width = config.heads * config.head_dim, kv_width = config.kv_heads * config.head_dim;

  ValueId x = builder.embed("model.embed_tokens");  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "model.layers." + std::to_string(layer) + ".";
    const std::string attention = path + "self_attn.", mlp = path + "mlp.";
    const ValueId normed = builder.layer_norm(x, path + "input_layernorm", hidden);

    ValueId q = builder.linear(normed, attention + "q_proj", query_width, true, ParameterPart::attention);
    ValueId k = builder.linear(normed, attention + "k_proj", kv_width, true, ParameterPart::attention);
    const ValueId v = builder.linear(normed, attention + "v_proj", kv_width, true, ParameterPart::attention);
    if (config.query_key_norm) {
      q = builder.layer_norm(q, attention + "q_layernorm", config.head_dim);
      k = builder.layer_norm(k, attention + "k_layernorm", config.head_dim);
    }
    ValueId attended = builder.attention(builder.rope(q, config.heads), builder.rope(k, config.kv_heads), v, 0);
    attended = builder.linear(attended, attention + "dense", hidden, true, ParameterPart::attention);
    x = builder.add(x, attended, path + "attention_residual");

    ValueId out = builder.linear(normed, mlp + "fc1", config.intermediate_size, true, ParameterPart::mlp);
    out = builder.activation(out, mlp + "act");
    out = builder.linear(out, mlp + "fc2", hidden, true, ParameterPart::mlp);
    x = builder.add(x, out, path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.layer_norm(x, "model.final_layernorm", hidden), "lm_head", true);
}

}  // namespace plimsoll
