#include "config/generation_config.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "config/json_fields.h"

namespace plimsoll {

GenerationConfig parse_generation_config(std::string_view json, std::string_view source) {
  const auto parsed = nlohmann::json::parse(json, nullptr, false);
  if (!parsed.is_object())
    throw caller_error(std::string(source), "is not a JSON object",
                       "download the file again, or remove it: config.json names the end of a text, too");
  GenerationConfig config;
  const JsonFields fields(parsed, source);
  config.do_sample = fields.boolean("do_sample").value_or(false);
  config.temperature = fields.number("temperature", 0.0, 100.0);
  config.top_p = fields.number("top_p", 0.0, 1.0);
  config.min_p = fields.number("min_p", 0.0, 1.0);
  config.repetition_penalty = fields.number("repetition_penalty", 0.01, 100.0);
  config.top_k = fields.integer("top_k", 0, 1 << 24);
  const auto ids = parsed.find("eos_token_id");
  if (ids == parsed.end() || ids->is_null()) return config;
  const auto add = [&](const nlohmann::json& id) {
    if (!id.is_number_integer() || (id.is_number_unsigned() && id.get<uint64_t>() > INT32_MAX) || id < 0)
      throw caller_error(std::string(source), "eos_token_id is not a token id or a list of them",
                         "correct it, for example \"eos_token_id\": [2, 32000]");
    config.eos_token_ids.push_back(id.get<int64_t>());
  };
  if (!ids->is_array()) add(*ids);
  else
    for (const auto& id : *ids) add(id);
  return config;
}

}  // namespace plimsoll
