#include "arch/initialization.h"

#include <cmath>

namespace plimsoll {

Initialization initialization_of(const ModelConfig& config, const ParameterSpec& parameter) {
  using Kind = Initialization::Kind;
  const std::string& name = parameter.name;
  const std::string& family = config.architecture;
  if (parameter.part == ParameterPart::buffer) return {Kind::zeros};
  // gpt_oss draws the router's bias and the sinks too; every other bias starts at zero.
  const bool drawn = family == "gpt_oss" && (name.ends_with(".router.bias") || name.ends_with(".sinks"));
  if (!drawn && (name.ends_with(".bias") || name.ends_with("_bias"))) return {Kind::zeros};
  // Gemma's norms multiply by one more than their weight.
  if (parameter.part == ParameterPart::norm) return {family.starts_with("gemma") ? Kind::zeros : Kind::ones};
  Initialization rule{Kind::normal, config.initializer_range};
  // GPT-2: what is added to the residual, twice a layer, starts smaller the more layers there are (Radford et al.
  // 2019).
  if (family == "gpt2" && name.ends_with(".c_proj.weight"))
    rule.deviation /= std::sqrt(2.0 * static_cast<double>(config.layers));
  const bool tokens = parameter.part == ParameterPart::embedding && parameter.shape[0] == config.vocab_size;
  if (tokens && config.pad_token_id) rule.zero_row = *config.pad_token_id;
  return rule;
}

}  // namespace plimsoll
