#include "arch/architecture.h"

#include <array>

#include "arch/decoder_builder.h"
#include "base/error.h"
#include "ops/op_def.h"

namespace plimsoll {
namespace {

struct Architecture {
  std::string_view name;  // `model_type` of config.json
  ForwardGraph (*build)(const ModelConfig& config, const ForwardRequest& request);
};

ForwardGraph build_plain(const ModelConfig& config, const ForwardRequest& request) {
  return build_llama_family(config, request, false);
}
ForwardGraph build_normed(const ModelConfig& config, const ForwardRequest& request) {
  return build_llama_family(config, request, true);
}

constexpr std::array<Architecture, 23> kArchitectures = {{
    {"llama", build_plain},
    {"mistral", build_plain},
    {"qwen2", build_plain},
    {"qwen3", build_normed},
    {"granite", build_plain},
    {"olmo2", build_olmo2},
    {"gemma", build_gemma},
    {"gemma2", build_gemma},
    {"gemma3_text", build_gemma},
    {"phi3", build_phi3},
    {"mixtral", build_plain},
    {"qwen3_moe", build_normed},
    {"gpt_oss", build_gpt_oss},
    {"deepseek_v2", build_deepseek},
    {"deepseek_v3", build_deepseek},
    {"phimoe", build_phimoe},
    {"gpt2", build_gpt2},
    {"gpt_neox", build_gpt_neox},
    {"phi", build_phi},
    {"opt", build_opt},
    {"falcon", build_falcon},
    {"bloom", build_bloom},
    {"starcoder2", build_starcoder2},
}};

}  // namespace

std::vector<std::string_view> known_architectures() {
  std::vector<std::string_view> names;
  for (const Architecture& architecture : kArchitectures) names.push_back(architecture.name);
  return names;
}

ForwardGraph build_forward(const ModelConfig& config, const ForwardRequest& request) {
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name != config.architecture) continue;
    ForwardGraph forward = architecture.build(config, request);
    verify(forward.graph);
    return forward;
  }
  std::string known;
  for (const std::string_view name : known_architectures()) known += (known.empty() ? "" : ", ") + std::string(name);
  throw caller_error("model_type", "'" + config.architecture + "' is not an architecture Plimsoll builds",
                     "known: " + known);
}

std::vector<ParameterSpec> list_parameters(const ModelConfig& config) { return build_forward(config, {}).parameters; }

}  // namespace plimsoll
