// gemma, gemma2, gemma3_text: Gemma Team 2024 and 2025 (arXiv:2403.08295, arXiv:2408.00118, arXiv:2503.19786).
// Norms multiply by 1 + weight; the embedding is scaled by √hidden. Gemma 2 adds a norm behind attention and MLP, caps
// scores and logits, and lets every second layer slide; Gemma 3 norms q and k and has a rope of its own for the layers
// that slide.
#include <cmath>

#include "arch/decoder_builder.h"

namespace plimsoll {
namespace {

// The reference rounds the factor to the type of the activations.
double embedding_scale(const ModelConfig& config, DType compute) {
  const auto scale = static_cast<float>(std::sqrt(static_cast<double>(config.hidden_size)));
  return static_cast<double>(compute == DType::bf16 ? bf16_to_f32(f32_to_bf16(scale)) : scale);
}

}  // namespace

ForwardGraph build_gemma(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  builder.set_norm_offset(1.0F);
  const int64_t hidden = config.hidden_size;
  const bool bias = config.attention_bias;
  const bool norms_behind = config.architecture != "gemma";
  using QueryKeyNorm = DecoderBuilder::QueryKeyNorm;
  const QueryKeyNorm query_key_norm = config.architecture == "gemma3_text" ? QueryKeyNorm::heads : QueryKeyNorm::none;

  ValueId x = builder.embed("model.embed_tokens", embedding_scale(config, request.compute));  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "model.layers." + std::to_string(layer) + ".";

    const ValueId normed = builder.rms_norm(x, path + "input_layernorm", hidden);
    ValueId out = builder.self_attention(normed, path + "self_attn.", bias, bias, query_key_norm);
    if (norms_behind) out = builder.rms_norm(out, path + "post_attention_layernorm", hidden);
    x = builder.add(x, out, path + "attention_residual");

    const std::string mlp_norm = norms_behind ? "pre_feedforward_layernorm" : "post_attention_layernorm";
    out = builder.gated_mlp(builder.rms_norm(x, path + mlp_norm, hidden), path + "mlp.", config.intermediate_size);
    if (norms_behind) out = builder.rms_norm(out, path + "post_feedforward_layernorm", hidden);
    x = builder.add(x, out, path + "mlp_residual");
  }
  builder.set_layer(-1);
  return builder.finish(builder.rms_norm(x, "model.norm", hidden));
}

}  // namespace plimsoll
