// olmo2: OLMo team 2025 (arXiv:2501.00656). Norms stand after attention and MLP, and on the whole width of q and k.
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_olmo2(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;
  const bool bias = config.attention_bias;

  ValueId x = builder.embed("model.embed_tokens");  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "model.layers." + std::to_string(layer) + ".";

    ValueId out = builder.self_attention(x, path + "self_attn.", bias, bias, DecoderBuilder::QueryKeyNorm::rows);
    x = builder.add(x, builder.rms_norm(out, path + "post_attention_layernorm", hidden), path + "attention_residual");

    out = builder.gated_mlp(x, path + "mlp.", config.intermediate_size);
    x = builder.add(x, builder.rms_norm(out, path + "post_feedforward_layernorm", hidden), path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.rms_norm(x, "model.norm", hidden));
}

}  // namespace plimsoll
