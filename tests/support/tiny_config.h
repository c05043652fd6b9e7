// For tests: the shape of a small llama.
#pragma once

#include "config/model_config.h"

namespace plimsoll {

inline ModelConfig tiny_llama() {
  ModelConfig config;
  config.architecture = "llama";
  config.vocab_size = 256;
  config.hidden_size = 64;
  config.intermediate_size = 160;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.context_length = 128;
  config.tied_embeddings = true;
  return config;
}

}  // namespace plimsoll
