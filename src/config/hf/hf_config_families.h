// Keys of config.json that only some families have, read and written: multipliers and soft-caps, mixtures of experts,
// latent attention, patterns of sliding layers. Defaults of absent keys are those of transformers 5.23.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/json_fields.h"
#include "config/model_config.h"

namespace plimsoll {

nlohmann::json absent_rope(std::string_view family);  // what stands for a rope that is left out
std::string parse_activation(const JsonFields& fields, std::string_view family);

void parse_multipliers(const JsonFields& fields, ModelConfig& config);       // Granite, Gemma 2 and 3; DeepSeek's pairs
void parse_mixture(const JsonFields& fields, ModelConfig& config);           // of the families that have experts
void parse_latent_attention(const JsonFields& fields, ModelConfig& config);  // deepseek_v2, deepseek_v3

// Families with another rule than mistral and qwen; `layer_types` of the file still goes before `slides`.
struct SlidingPattern {
  int64_t window = 0;        // 0: none
  std::vector<bool> slides;  // by layer
};
std::optional<SlidingPattern> sliding_pattern(const JsonFields& fields, const ModelConfig& config);

// The family's own keys of `config`; nothing for llama, mistral, qwen2, qwen3.
void write_family_keys(const ModelConfig& config, nlohmann::json& out);

}  // namespace plimsoll
