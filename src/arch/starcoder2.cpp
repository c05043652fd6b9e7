// starcoder2: Lozhkov et al. 2024 (arXiv:2402.19173). As llama, but layer norms, biases and an MLP without a gate.
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_starcoder2(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;
  const bool bias = config.mlp_bias;

  ValueId x = builder.embed("model.embed_tokens");  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "model.layers." + std::to_string(layer) + ".";
    const std::string mlp = path + "mlp.";

    const ValueId normed = builder.layer_norm(x, path + "input_layernorm", hidden);
    ValueId out = builder.self_attention(normed, path + "self_attn.", bias, bias);
    x = builder.add(x, out, path + "attention_residual");

    out = builder.layer_norm(x, path + "post_attention_layernorm", hidden);
    out = builder.linear(out, mlp + "c_fc", config.intermediate_size, bias, ParameterPart::mlp);
    out = builder.activation(out, mlp + "act");
    out = builder.linear(out, mlp + "c_proj", hidden, bias, ParameterPart::mlp);
    x = builder.add(x, out, path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.layer_norm(x, "model.norm", hidden));
}

}  // namespace plimsoll
