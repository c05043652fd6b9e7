// What the files that read and write config.json share. Internal to config/hf_config*.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

#include "config/json_fields.h"
#include "config/model_config.h"

namespace plimsoll {

// Generous bounds on sizes; within them no parameter or byte count of a model overflows int64.
namespace config_limits {
inline constexpr int64_t kMaxWidth = int64_t{1} << 22;
inline constexpr int64_t kMaxLayers = 4096;
inline constexpr int64_t kMaxVocabulary = int64_t{1} << 28;
inline constexpr int64_t kMaxContext = int64_t{1} << 40;
}  // namespace config_limits

// Reads all but rope, special tokens and stored type of a family with layer norms (gpt2, gpt_neox, phi, opt, falcon,
// bloom, starcoder2), by the keys and defaults of that family; false, and nothing read, for any other.
// config.architecture is set.
bool parse_layer_norm_family(const JsonFields& fields, ModelConfig& config);

// The reverse: adds the family's keys; false for any other family.
bool write_layer_norm_family(const ModelConfig& config, nlohmann::json& out);

}  // namespace plimsoll
