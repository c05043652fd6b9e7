// gpt_oss: OpenAI 2025 (arXiv:2508.10925). Biases everywhere, a sink in every head, every second layer slides, all MLPs
// are mixtures whose experts lie in one tensor, gate and up in turn.
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_gpt_oss(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;
  const bool bias = config.attention_bias;

  ValueId x = builder.embed("model.embed_tokens");  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "model.layers." + std::to_string(layer) + ".";

    const ValueId normed = builder.rms_norm(x, path + "input_layernorm", hidden);
    x = builder.add(x, builder.self_attention(normed, path + "self_attn.", bias, bias), path + "attention_residual");

    const ValueId normed_again = builder.rms_norm(x, path + "post_attention_layernorm", hidden);
    x = builder.add(x, builder.mixture(normed_again, path), path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.rms_norm(x, "model.norm", hidden));
}

}  // namespace plimsoll
