// falcon: Almazrouei et al. 2023 (arXiv:2311.16867). One projection for q, k and v: of 7B with one key and value head
// for all (Shazeer 2019, arXiv:1911.02150), of 40B with groups and a norm each for attention and MLP, which stand
// beside each other; the small models before them (falcon-rw) have linear biases, and attention and MLP one after the
// other.
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_falcon(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;
  const bool rotary = config.positions == PositionKind::rotary;
  // With one key head both layouts are [q heads, k, v]; with one per query head they are (q, k, v) by head.
  const QkvLayout layout = QkvLayout::groups(config.heads, config.kv_heads, config.head_dim);

  ValueId x = builder.embed("transformer.word_embeddings");  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "transformer.h." + std::to_string(layer) + ".";
    const std::string attention = path + "self_attention.", mlp = path + "mlp.";

    const bool two_norms = config.parallel_norms == 2;
    const ValueId normed = builder.layer_norm(x, path + (two_norms ? "ln_attn" : "input_layernorm"), hidden);
    ValueId attended = builder.linear(normed, attention + "query_key_value", layout.width, config.attention_bias,
                                      ParameterPart::attention);
    if (rotary) attended = builder.rope(attended, layout);
    attended = builder.attention(attended, layout, 0);
    attended =
        builder.linear(attended, attention + "dense", hidden, config.attention_output_bias, ParameterPart::attention);
    const ValueId middle = builder.add(x, attended, path + "attention_residual");

    ValueId out = normed;
    if (two_norms) out = builder.layer_norm(x, path + "ln_mlp", hidden);
    if (!config.parallel_residual) out = builder.layer_norm(middle, path + "post_attention_layernorm", hidden);
    out = builder.linear(out, mlp + "dense_h_to_4h", config.intermediate_size, config.mlp_bias, ParameterPart::mlp);
    out = builder.activation(out, mlp + "act");
    out = builder.linear(out, mlp + "dense_4h_to_h", hidden, config.mlp_bias, ParameterPart::mlp);
    x = builder.add(middle, out, path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.layer_norm(x, "transformer.ln_f", hidden));
}

}  // namespace plimsoll
