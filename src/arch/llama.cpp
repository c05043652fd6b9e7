// llama, mistral, qwen2, qwen3: Touvron et al. 2023 (arXiv:2302.13971), Jiang et al. 2023 (arXiv:2310.06825), Qwen team
// 2024 and 2025 (arXiv:2407.10671, arXiv:2505.09388). They differ in biases, windows and the norm on q and k.
// granite (IBM 2024, arXiv:2408.13359's block with muP multipliers) scales embedding, scores, residuals and logits.
// mixtral (Jiang et al. 2024, arXiv:2401.04088) and qwen3_moe have a mixture of experts in place of the MLP.
#include "arch/decoder_builder.h"

namespace plimsoll {

ForwardGraph build_llama_family(const ModelConfig& config, const ForwardRequest& request, bool query_key_norm) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;
  const int64_t query_width = config.heads * config.head_dim;
  const int64_t kv_width = config.kv_heads * config.head_dim;

  ValueId x = builder.embed("model.embed_tokens", config.embedding_multiplier);  // (R, H)
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = "model.layers." + std::to_string(layer) + ".";
    const std::string attention = path + "self_attn.";
    const std::string mlp = path + "mlp.";

    const ValueId normed = builder.rms_norm(x, path + "input_layernorm", hidden);
    ValueId q =
        builder.linear(normed, attention + "q_proj", query_width, config.attention_bias, ParameterPart::attention);
    ValueId k = builder.linear(normed, attention + "k_proj", kv_width, config.attention_bias, ParameterPart::attention);
    const ValueId v =
        builder.linear(normed, attention + "v_proj", kv_width, config.attention_bias, ParameterPart::attention);
    if (query_key_norm) {
      q = builder.rms_norm(q, attention + "q_norm", config.head_dim);
      k = builder.rms_norm(k, attention + "k_norm", config.head_dim);
    }
    q = builder.rope(q, config.heads);
    k = builder.rope(k, config.kv_heads);
    const ValueId mixed = builder.attention(q, k, v, config.window_of_layer(layer));
    const ValueId attended =
        builder.linear(mixed, attention + "o_proj", hidden, config.attention_output_bias, ParameterPart::attention);
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
