// llama, mistral, qwen2, qwen3: Touvron et al. 2023 (arXiv:2302.13971), Jiang et al. 2023 (arXiv:2310.06825), Qwen team
// 2024 and 2025 (arXiv:2407.10671, arXiv:2505.09388). They differ in biases, windows and the norm on q and k.
// granite (IBM 2024, arXiv:2408.13359's block with muP multipliers) scales embedding, scores, residuals and logits.
// mixtral (Jiang et al. 2024, arXiv:2401.04088) and qwen3_moe have a mixture of experts in place of the MLP.
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_llama_family(const ModelConfig& config, const ForwardRequest& request, bool query_key_norm) {
  DecoderBuilder builder(config, request);
  const auto norm = query_key_norm ? DecoderBuilder::QueryKeyNorm::heads : DecoderBuilder::QueryKeyNorm::none;
  const int64_t hidden = config.hidden_size;

  ValueId x = builder.embed("model.embed_tokens", config.embedding_multiplier);  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "model.layers." + std::to_string(layer) + ".";
    const std::string attention = path + "self_attn.";
    const std::string mlp = path + "mlp.";

    const ValueId normed = builder.rms_norm(x, path + "input_layernorm", hidden);
    const ValueId attended =
        builder.self_attention(normed, attention, config.attention_bias, config.attention_output_bias, norm);
    x = builder.add(x, builder.scale(attended, config.residual_multiplier, attention + "multiplier"),
                    path + "attention_residual");

    const ValueId normed_again = builder.rms_norm(x, path + "post_attention_layernorm", hidden);
    const bool sparse = !config.mixture.layers.empty() && config.mixture.layers[static_cast<size_t>(layer)];
    const ValueId out = sparse ? builder.mixture(normed_again, path)
                               : builder.gated_mlp(normed_again, mlp, config.intermediate_size, config.mlp_bias);
    x = builder.add(x, builder.scale(out, config.residual_multiplier, mlp + "multiplier"), path + "mlp_residual");
  }
  builder.set_layer(-1);
  x = builder.rms_norm(x, "model.norm", hidden);
  return builder.finish(x);
}

}  // namespace plimsoll
