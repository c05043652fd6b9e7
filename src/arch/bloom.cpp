// bloom: BigScience 2022 (arXiv:2211.05100). Linear biases in place of positions, a norm after the embedding, and one
// projection for q, k and v, head by head.
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_bloom(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;
  const QkvLayout layout = QkvLayout::groups(config.heads, config.heads, config.head_dim);

  ValueId x = builder.embed("transformer.word_embeddings");  // (R, H)
  x = builder.layer_norm(x, "transformer.word_embeddings_layernorm", hidden);
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "transformer.h." + std::to_string(layer) + ".";
    const std::string attention = path + "self_attention.", mlp = path + "mlp.";

    const ValueId normed = builder.layer_norm(x, path + "input_layernorm", hidden);
    ValueId out = builder.linear(normed, attention + "query_key_value", layout.width, true, ParameterPart::attention);
    out = builder.attention(out, layout, 0);
    out = builder.linear(out, attention + "dense", hidden, true, ParameterPart::attention);
    x = builder.add(config.residual_after_norm ? normed : x, out, path + "attention_residual");

    const ValueId normed_again = builder.layer_norm(x, path + "post_attention_layernorm", hidden);
    out = builder.linear(normed_again, mlp + "dense_h_to_4h", config.intermediate_size, true, ParameterPart::mlp);
    out = builder.activation(out, mlp + "gelu_impl");
    out = builder.linear(out, mlp + "dense_4h_to_h", hidden, true, ParameterPart::mlp);
    x = builder.add(config.residual_after_norm ? normed_again : x, out, path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.layer_norm(x, "transformer.ln_f", hidden));
}

}  // namespace plimsoll
