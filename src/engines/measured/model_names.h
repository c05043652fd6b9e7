// Models as people write them in tables: "Llama 3.1 8B Instruct", "Llama3-70B (12 layers)", "GPT 181B".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "config/model_config.h"

namespace plimsoll {

// From the catalogue (models/ and measured_models.csv), with another number of layers where the name says so.
std::optional<ModelConfig> model_by_written_name(std::string_view name);

// A GPT as Megatron builds it, by the sizes that a row's notes give (h=, L=, a= or heads=, kv=, ffn=, vocab=, and
// flags such as swiglu=true); `parameters` in billions serves where L isn't there. Empty where h is missing.
std::optional<ModelConfig> model_by_sizes(std::string_view notes, double parameters, int64_t layer_multiple);

}  // namespace plimsoll
