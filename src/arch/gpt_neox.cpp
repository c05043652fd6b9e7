// gpt_neox: Black et al. 2022 (arXiv:2204.06745), and Pythia (Biderman et al. 2023, arXiv:2304.01373). One projection
// for q, k and v, head by head; a quarter of each head turns; attention and MLP beside each other or, in some models,
// one after the other.
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_gpt_neox(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;
  const QkvLayout layout = QkvLayout::groups(config.heads, config.heads, config.head_dim);

  ValueId x = builder.embed("gpt_neox.embed_in");  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "gpt_neox.layers." + std::to_string(layer) + ".";
    const std::string attention = path + "attention.", mlp = path + "mlp.";

    ValueId attended = builder.layer_norm(x, path + "input_layernorm", hidden);
    attended = builder.linear(attended, attention + "query_key_value", layout.width, config.attention_bias,
                              ParameterPart::attention);
    attended = builder.attention(builder.rope(attended, layout), layout, 0);
    attended =
        builder.linear(attended, attention + "dense", hidden, config.attention_output_bias, ParameterPart::attention);
    const ValueId middle = builder.add(x, attended, path + "attention_residual");

    const ValueId mlp_input = config.parallel_residual ? x : middle;
    ValueId out = builder.layer_norm(mlp_input, path + "post_attention_layernorm", hidden);
    out = builder.linear(out, mlp + "dense_h_to_4h", config.intermediate_size, config.mlp_bias, ParameterPart::mlp);
    out = builder.activation(out, mlp + "act");
    out = builder.linear(out, mlp + "dense_4h_to_h", hidden, config.mlp_bias, ParameterPart::mlp);
    x = builder.add(middle, out, path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.layer_norm(x, "gpt_neox.final_layer_norm", hidden), "embed_out");
}

}  // namespace plimsoll
