// phi3: Abdin et al. 2024 (arXiv:2404.14219; phi-4: arXiv:2412.08905). The llama block with q, k and v out of one
// projection, and gate and up out of another; long contexts by LongRoPE (arXiv:2402.13753).
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_phi3(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  const QkvLayout layout = QkvLayout::blocks(config.heads, config.kv_heads, config.head_dim);

  ValueId x = builder.embed("model.embed_tokens");  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "model.layers." + std::to_string(layer) + ".";
    const std::string attention = path + "self_attn.";
    const std::string mlp = path + "mlp.";

    const ValueId normed = builder.rms_norm(x, path + "input_layernorm", hidden);
    ValueId qkv = builder.linear(normed, attention + "qkv_proj", layout.width, false, ParameterPart::attention);
    qkv = builder.rope(qkv, layout);
    const ValueId mixed = builder.attention(qkv, layout, config.window_of_layer(layer));
    x = builder.add(x, builder.linear(mixed, attention + "o_proj", hidden, false, ParameterPart::attention),
                    path + "attention_residual");

    const ValueId normed_again = builder.rms_norm(x, path + "post_attention_layernorm", hidden);
    const auto [gate, up] = builder.split_columns(
        builder.linear(normed_again, mlp + "gate_up_proj", 2 * inner, false, ParameterPart::mlp), inner, mlp + "split");
    const ValueId product = builder.gated_activation(gate, up, mlp + "act");
    x = builder.add(x, builder.linear(product, mlp + "down_proj", hidden, false, ParameterPart::mlp),
                    path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.rms_norm(x, "model.norm", hidden));
}

}  // namespace plimsoll
