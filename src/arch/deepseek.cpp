// deepseek_v2 and deepseek_v3: DeepSeek-AI 2024 (arXiv:2405.04434, arXiv:2412.19437). Keys and values come out of one
// low-rank latent; the first layers have a plain MLP, the others experts, of which one or more serve every token. The
// two differ in how tokens are routed (mixture.cpp). The extra layers for predicting several tokens are not part of the
// model here, as in transformers.
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_deepseek(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;

  ValueId x = builder.embed("model.embed_tokens");  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "model.layers." + std::to_string(layer) + ".";

    const ValueId normed = builder.rms_norm(x, path + "input_layernorm", hidden);
    const ValueId mixed = builder.latent_attention(normed, path + "self_attn.");
    x = builder.add(
        x, builder.linear(mixed, path + "self_attn.o_proj", hidden, config.attention_bias, ParameterPart::attention),
        path + "attention_residual");

    const ValueId normed_again = builder.rms_norm(x, path + "post_attention_layernorm", hidden);
    const ValueId out = config.mixture.layers[static_cast<size_t>(layer)]
                            ? builder.mixture(normed_again, path)
                            : builder.gated_mlp(normed_again, path + "mlp.", config.intermediate_size, config.mlp_bias);
    x = builder.add(x, out, path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.rms_norm(x, "model.norm", hidden));
}

}  // namespace plimsoll
