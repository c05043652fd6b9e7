// A model of random weights, to be trained from scratch.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "arch/architecture.h"

namespace plimsoll {

// What a new model has otherwise than the one whose config.json it starts from.
struct ModelSizes {
  std::optional<int64_t> layers, hidden, heads, kv_heads, head_dim, intermediate, vocab, context;
  std::optional<bool> tied;
};

// `config_json` with other sizes, under the names that its family has for them. What is not said follows: as many heads
// of keys and values as of queries where there were, else in the same proportion; the head's width from the hidden
// size; the MLP's in the same proportion to it. Token ids that the vocabulary does not have are left out. The result
// still has to be parsed.
std::string resize_config(std::string_view config_json, std::string_view source, const ModelSizes& sizes);

// Writes model.safetensors: each tensor as its family's initialization says, drawn by tensor, position and seed, so
// that the bytes depend on nothing else. Memory: one piece of 1 MiB. `progress` gets the bytes written so far.
void write_random_weights(const ModelConfig& config, DType dtype, uint64_t seed, const std::string& folder,
                          const std::function<void(int64_t)>& progress);

}  // namespace plimsoll
