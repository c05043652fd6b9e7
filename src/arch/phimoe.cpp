// phimoe: Phi-3.5-MoE (Abdin et al. 2024, arXiv:2404.14219). Layer norms, grouped queries, longrope; every MLP is a
// mixture of experts whose router is SparseMixer (Liu et al. 2024, arXiv:2409.12136).
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_phimoe(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;
  const bool bias = config.attention_bias;

  ValueId x = builder.embed("model.embed_tokens");  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "model.layers." + std::to_string(layer) + ".";

    const ValueId normed = builder.layer_norm(x, path + "input_layernorm", hidden);
    x = builder.add(x, builder.self_attention(normed, path + "self_attn.", bias, bias), path + "attention_residual");

    const ValueId normed_again = builder.layer_norm(x, path + "post_attention_layernorm", hidden);
    x = builder.add(x, builder.mixture(normed_again, path), path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.layer_norm(x, "model.norm", hidden), "lm_head", config.head_bias);
}

}  // namespace plimsoll
