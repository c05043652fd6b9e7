// What transformers 5.23 assumes for each model type whose config.json leaves a key out, and what it calls the model's
// class. The one table of these facts; a family with further keys reads them in hf_config_families.cpp or
// hf_config_layer_norm.cpp. Internal to config/hf_config*.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace plimsoll {

struct HfFamily {
  std::string_view model_type, class_name;
  int64_t kv_heads = 0;  // 0: as many as heads
  int64_t head_dim = 0;  // 0: hidden_size / heads
  int64_t context_length = 2048;
  std::optional<int64_t> bos_token_id = 1, eos_token_id = 2;
  double norm_eps = 1e-6;
  double rope_theta = 10000.0;
  double partial_rotary_factor = 1.0;
  bool tied_embeddings = false;
  double initializer_range = 0.02;
};

std::span<const HfFamily> hf_families();
const HfFamily& hf_family(std::string_view model_type);  // of a config that was read

}  // namespace plimsoll
