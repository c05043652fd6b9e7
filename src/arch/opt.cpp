// opt: Zhang et al. 2022 (arXiv:2205.01068). As GPT-2 with separate q, k and v and ReLU. The 350m model is of another
// kind: norms after the residuals (as in Vaswani et al. 2017), and narrower embeddings with a projection to the width
// of the layers and one back.
#include "arch/decoder_builder.h"

namespace plimsoll {
namespace {

// Positions begin at row 2: fairseq counted them from its padding token's id on.
constexpr int64_t kFirstPositionRow = 2;

}  // namespace

ForwardGraph build_opt(const ModelConfig& config, const ForwardRequest& request) {
  DecoderBuilder builder(config, request);
  const int64_t hidden = config.hidden_size;
  const std::string decoder = "model.decoder.";

  ValueId x = builder.embed(decoder + "embed_tokens");  // (R, H), or narrower
  if (config.embedding_width > 0)
    x = builder.linear(x, decoder + "project_in", hidden, false, ParameterPart::embedding);
  x = builder.add(x, builder.embed_positions(decoder + "embed_positions", kFirstPositionRow), decoder + "embeddings");
  for (int layer = 0; layer < config.layers; ++layer) {
    builder.set_layer(layer);
    const std::string path = decoder + "layers." + std::to_string(layer) + ".", attention = path + "self_attn.";
    const auto norm = [&](ValueId value, const char* name, bool here) {
      return here ? builder.layer_norm(value, path + name, hidden) : value;
    };
    const auto project = [&](ValueId value, const char* name) {
      return builder.linear(value, attention + name, hidden, config.attention_bias, ParameterPart::attention);
    };

    const ValueId normed = norm(x, "self_attn_layer_norm", config.norm_before);
    const ValueId q = project(normed, "q_proj"), k = project(normed, "k_proj"), v = project(normed, "v_proj");
    ValueId out = project(builder.attention(q, k, v, 0), "out_proj");
    x = builder.add(x, out, path + "attention_residual");
    x = norm(x, "self_attn_layer_norm", !config.norm_before);

    out = norm(x, "final_layer_norm", config.norm_before);
    out = builder.linear(out, path + "fc1", config.intermediate_size, config.mlp_bias, ParameterPart::mlp);
    out = builder.activation(out, path + "act");
    out = builder.linear(out, path + "fc2", hidden, config.mlp_bias, ParameterPart::mlp);
    x = builder.add(x, out, path + "mlp_residual");
    x = norm(x, "final_layer_norm", !config.norm_before);
  }
  builder.set_layer(-1);
  if (config.final_norm) x = builder.layer_norm(x, decoder + "final_layer_norm", hidden);
  if (config.embedding_width > 0)
    x = builder.linear(x, decoder + "project_out", config.embedding_width, false, ParameterPart::embedding);
  return builder.finish(x);
}

}  // namespace plimsoll
