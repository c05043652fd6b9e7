// phimoe: Phi-3.5-MoE (Abdin et al. 2024, arXiv:2404.14219). Layer norms, grouped queries, longrope; every MLP is a
// mixture of experts whose router is SparseMixer (Liu et al. 2024, arXiv:2409.12136).
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_phimoe(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;
  const int64_t query_width = config.heads * config.head_dim, kv_width = config.kv_heads * config.head_dim;
  const bool bias = config.attention_bias;

  ValueId x = builder.embed("model.embed_tokens");  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "model.layers." + std::to_string(layer) + ".";
    const std::string attention = path + "self_attn.";

    const ValueId normed = builder.layer_norm(x, path + "input_layernorm", hidden);
    const ValueId q = builder.linear(normed, attention + "q_proj", query_width, bias, ParameterPart::attention);
    const ValueId k = builder.linear(normed, attention + "k_proj", kv_width, bias, ParameterPart::attention);
    const ValueId v = builder.linear(normed, attention + "v_proj", kv_width, bias, ParameterPart::attention);
    const ValueId mixed = builder.attention(builder.rope(q, config.heads), builder.rope(k, config.kv_heads), v,
                                            config.window_of_layer(layer));
    x = builder.add(x, builder.linear(mixed, attention + "o_proj", hidden, bias, ParameterPart::attention),
                    path + "attention_residual");

    const ValueId normed_again = builder.layer_norm(x, path + "post_attention_layernorm", hidden);
    x = builder.add(x, builder.mixture(normed_again, path), path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.layer_norm(x, "model.norm", hidden), "lm_head", config.head_bias);
}

}  // namespace plimsoll
