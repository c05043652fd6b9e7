// A model as the cost of its steps depends on it: the sizes of its matrix products, layer by layer. Equal layers stand
// together, so that each is worked out once.
#pragma once

#include <cstdint>
#include <vector>

#include "config/model_config.h"

namespace plimsoll {

// A weight (out, in) that every token of a layer, or of one expert, is multiplied with.
struct ProductShape {
  int64_t out = 0, in = 0;
  // How tensor parallelism cuts it: by columns (out), by rows (in), or not at all.
  enum class Cut : uint8_t { columns, rows, none } cut = Cut::none;
  bool attention = false;  // part of the attention block
};

struct LayerShape {
  std::vector<ProductShape> products;  // dense ones
  std::vector<ProductShape> expert;    // of one expert
  int64_t experts = 0, chosen = 0;
  int64_t q_size = 0, kv_size = 0;     // heads · head_dim, kv_heads · head_dim
  int64_t heads = 0, kv_heads = 0;     // 0 heads: no attention
  int64_t key_dim = 0, value_dim = 0;  // of a head
  int64_t window = 0;                  // keys that a query sees; 0: all before it
  int64_t ffn = 0;                     // width between the products of the dense MLP; 0: none
  int64_t expert_ffn = 0;              // the same of one expert
  bool gated = false;
  bool rotary = false;
  int64_t norms = 2;       // of hidden_size values a token
  int64_t parameters = 0;  // all of them, experts and norms included
  int64_t expert_parameters = 0;

  bool operator==(const LayerShape&) const = default;
};
inline bool operator==(const ProductShape& a, const ProductShape& b) {
  return a.out == b.out && a.in == b.in && a.cut == b.cut && a.attention == b.attention;
}

struct LayerGroup {
  LayerShape shape;
  int64_t count = 0;  // layers in a row that are equal
};

struct ModelShape {
  std::vector<LayerGroup> groups;  // in the model's order
  int64_t layers = 0, hidden = 0, vocab = 0;
  bool tied = false;
  int64_t embedding_parameters = 0;      // tokens and positions
  int64_t head_parameters = 0;           // 0 where tied
  int64_t other_parameters = 0;          // final norm
  int64_t kv_bytes_per_token_16bit = 0;  // of all layers

  int64_t total_parameters() const;
  const LayerShape& layer(int64_t index) const;
};

ModelShape shape_of(const ModelConfig& config);

// Flops of a forward pass over `tokens` tokens in sequences of `seq_len`: products and attention, embeddings are looked
// up. Causal attention counts the keys that a query sees: half the square, less with windows. `full_square` counts all
// keys, as some published figures do.
double forward_flops(const ModelShape& model, double tokens, double seq_len, bool full_square = false);

// Keys that a query of a causal sequence sees on average.
double mean_keys(int64_t seq_len, int64_t window);

}  // namespace plimsoll
