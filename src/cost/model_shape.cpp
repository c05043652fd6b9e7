#include "cost/model_shape.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"

namespace plimsoll {
namespace {

using Cut = ProductShape::Cut;

// The families whose MLP has two matrices; in all others a third one makes the gate.
bool is_gated(const ModelConfig& config) {
  constexpr std::array<std::string_view, 9> kPlain = {"megatron_gpt", "gpt2", "opt",        "bloom", "gpt_neox",
                                                      "falcon",       "phi",  "starcoder2", "gptj"};
  return std::find(kPlain.begin(), kPlain.end(), config.architecture) == kPlain.end();
}

void add_attention(LayerShape& layer, const ModelConfig& config) {
  const int64_t h = config.hidden_size;
  layer.heads = config.heads;
  layer.kv_heads = config.kv_heads;
  layer.q_size = config.heads * config.head_dim;
  layer.kv_size = config.kv_heads * config.head_dim;
  layer.key_dim = layer.value_dim = config.head_dim;
  layer.rotary = config.positions == PositionKind::rotary;
  const LatentConfig& latent = config.latent;
  if (latent.kv_rank == 0) {
    layer.products.push_back({layer.q_size + 2 * layer.kv_size, h, Cut::columns, true});
    layer.products.push_back({h, layer.q_size, Cut::rows, true});
    return;
  }
  // Multi-head latent attention (arXiv:2405.04434).
  layer.key_dim = latent.plain + latent.rotary;
  layer.value_dim = latent.value;
  layer.q_size = config.heads * layer.key_dim;
  layer.kv_size = layer.q_size;
  layer.kv_heads = config.heads;
  if (latent.q_rank > 0) {
    layer.products.push_back({latent.q_rank, h, Cut::none, true});
    layer.products.push_back({layer.q_size, latent.q_rank, Cut::columns, true});
  } else {
    layer.products.push_back({layer.q_size, h, Cut::columns, true});
  }
  layer.products.push_back({latent.kv_rank + latent.rotary, h, Cut::none, true});
  layer.products.push_back({config.heads * (latent.plain + latent.value), latent.kv_rank, Cut::columns, true});
  layer.products.push_back({h, config.heads * latent.value, Cut::rows, true});
}

int64_t elements(const std::vector<ProductShape>& products) {
  int64_t sum = 0;
  for (const ProductShape& product : products) sum += product.out * product.in;
  return sum;
}

LayerShape layer_of(const ModelConfig& config, int64_t index) {
  LayerShape layer;
  const int64_t h = config.hidden_size;
  layer.gated = is_gated(config);
  layer.window = config.window_of_layer(index);
  add_attention(layer, config);
  const MixtureConfig& mixture = config.mixture;
  const bool mixed = mixture.experts > 0 && (mixture.layers.empty() || mixture.layers[static_cast<size_t>(index)]);
  const int64_t inner = layer.gated ? 2 : 1;
  if (!mixed) {
    layer.ffn = config.intermediate_size;
  } else {
    layer.experts = mixture.experts;
    layer.chosen = mixture.chosen;
    layer.expert_ffn = mixture.width;
    layer.ffn = mixture.shared * mixture.width;
    layer.products.push_back({mixture.experts, h, Cut::none, false});
    layer.expert = {{inner * mixture.width, h, Cut::columns, false}, {h, mixture.width, Cut::rows, false}};
  }
  if (layer.ffn > 0) {
    layer.products.push_back({inner * layer.ffn, h, Cut::columns, false});
    layer.products.push_back({h, layer.ffn, Cut::rows, false});
  }
  const std::string_view family = config.architecture;
  if (family.starts_with("gemma2") || family.starts_with("gemma3")) layer.norms = 4;
  else if (config.parallel_residual && config.parallel_norms == 1) layer.norms = 1;
  layer.expert_parameters = layer.experts * elements(layer.expert);
  const int64_t norm_width = config.positions == PositionKind::rotary ? 1 : 2;  // layer norms have a bias
  layer.parameters = elements(layer.products) + layer.expert_parameters + layer.norms * norm_width * h;
  return layer;
}

}  // namespace

int64_t ModelShape::total_parameters() const {
  int64_t sum = embedding_parameters + head_parameters + other_parameters;
  for (const LayerGroup& group : groups) sum += group.count * group.shape.parameters;
  return sum;
}

const LayerShape& ModelShape::layer(int64_t index) const {
  for (const auto& [shape, count] : groups) {
    if (index < count) return shape;
    index -= count;
  }
  PLIMSOLL_CHECK(false, "a layer that the model has not");
}

ModelShape shape_of(const ModelConfig& config) {
  ModelShape model;
  model.layers = config.layers;
  model.hidden = config.hidden_size;
  model.vocab = config.vocab_size;
  model.tied = config.tied_embeddings;
  const int64_t width = config.embedding_width > 0 ? config.embedding_width : config.hidden_size;
  model.embedding_parameters = config.vocab_size * width;
  if (config.positions == PositionKind::learned)
    model.embedding_parameters += config.context_length * config.hidden_size;
  model.head_parameters = config.tied_embeddings ? 0 : config.vocab_size * width;
  model.other_parameters = config.hidden_size;
  for (int64_t i = 0; i < config.layers; ++i) {
    LayerShape layer = layer_of(config, i);
    const int64_t cached = config.latent.kv_rank > 0 ? config.latent.kv_rank + config.latent.rotary : 2 * layer.kv_size;
    model.kv_bytes_per_token_16bit += 2 * cached;
    if (!model.groups.empty() && model.groups.back().shape == layer) ++model.groups.back().count;
    else model.groups.push_back({std::move(layer), 1});
  }
  return model;
}

double mean_keys(int64_t seq_len, int64_t window) {
  const auto s = static_cast<double>(seq_len);
  const auto w = static_cast<double>(window);
  if (window <= 0 || window >= seq_len) return (s + 1) / 2;
  return (w * (w + 1) / 2 + (s - w) * w) / s;
}

double forward_flops(const ModelShape& model, double tokens, double seq_len, bool full_square) {
  double flops = 2.0 * tokens * static_cast<double>(model.vocab) * static_cast<double>(model.hidden);
  for (const auto& [shape, count] : model.groups) {
    const double products = static_cast<double>(elements(shape.products)) +
                            static_cast<double>(shape.chosen) * static_cast<double>(elements(shape.expert));
    const double keys = full_square ? seq_len : mean_keys(static_cast<int64_t>(seq_len), shape.window);
    const double attention = 2.0 * keys * static_cast<double>(shape.heads * (shape.key_dim + shape.value_dim));
    flops += static_cast<double>(count) * tokens * (2.0 * products + attention);
  }
  return flops;
}

}  // namespace plimsoll
