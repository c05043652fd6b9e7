// gpt2: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; the shape of GPT-3 too (Brown et
// al. 2020, arXiv:2005.14165). Learned positions, norms before attention and MLP, biases everywhere, and linears stored
// (inputs, outputs) because the first code computed them as convolutions of width one.
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_gpt2(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;
  const QkvLayout layout = QkvLayout::blocks(config.heads, config.heads, config.head_dim);

  ValueId x = builder.embed("transformer.wte");  // (R, H)
  x = builder.add(x, builder.embed_positions("transformer.wpe"), "transformer.embeddings");
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "transformer.h." + std::to_string(layer) + ".";

    ValueId out = builder.layer_norm(x, path + "ln_1", hidden);
    out = builder.conv1d(out, path + "attn.c_attn", layout.width, ParameterPart::attention);
    out = builder.attention(out, layout, 0);
    out = builder.conv1d(out, path + "attn.c_proj", hidden, ParameterPart::attention);
    x = builder.add(x, out, path + "attention_residual");

    out = builder.layer_norm(x, path + "ln_2", hidden);
    out = builder.conv1d(out, path + "mlp.c_fc", config.intermediate_size, ParameterPart::mlp);
    out = builder.activation(out, path + "mlp.act");
    out = builder.conv1d(out, path + "mlp.c_proj", hidden, ParameterPart::mlp);
    x = builder.add(x, out, path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.layer_norm(x, "transformer.ln_f", hidden));
}

}  // namespace plimsoll
