// generation_config.json of a Hugging Face folder: what of it we use.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace plimsoll {

struct GenerationConfig {
  std::vector<int64_t> eos_token_ids;  // a number, or a list of them; none where the key is missing or null
  // How the model's makers sample; transformers does so where the caller says nothing.
  bool do_sample = false;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k;
};

// `source` names the file in errors. Throws a caller Error for text that is not a JSON object, and for an eos_token_id
// or a setting of the sampling that is none.
GenerationConfig parse_generation_config(std::string_view json, std::string_view source);

}  // namespace plimsoll
