#include "config/hf/hf_families.h"

#include <array>
#include <string>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr std::nullopt_t kNone = std::nullopt;

constexpr std::array kFamilies = {
    HfFamily{.model_type = "llama", .class_name = "LlamaForCausalLM"},
    HfFamily{.model_type = "mistral", .class_name = "MistralForCausalLM", .kv_heads = 8, .context_length = 131072},
    HfFamily{.model_type = "qwen2",
             .class_name = "Qwen2ForCausalLM",
             .kv_heads = 32,
             .context_length = 32768,
             .bos_token_id = kNone,
             .eos_token_id = kNone},
    HfFamily{.model_type = "qwen3",
             .class_name = "Qwen3ForCausalLM",
             .kv_heads = 32,
             .head_dim = 128,
             .context_length = 32768,
             .bos_token_id = kNone,
             .eos_token_id = kNone},
    HfFamily{.model_type = "granite", .class_name = "GraniteForCausalLM"},
    HfFamily{.model_type = "olmo2",
             .class_name = "Olmo2ForCausalLM",
             .bos_token_id = kNone,
             .eos_token_id = 50279,
             .norm_eps = 1e-5},
    HfFamily{.model_type = "gemma",
             .class_name = "GemmaForCausalLM",
             .kv_heads = 16,
             .head_dim = 256,
             .context_length = 8192,
             .bos_token_id = 2,
             .eos_token_id = 1,
             .tied_embeddings = true},
    HfFamily{.model_type = "gemma2",
             .class_name = "Gemma2ForCausalLM",
             .kv_heads = 4,
             .head_dim = 256,
             .context_length = 8192,
             .bos_token_id = 2,
             .eos_token_id = 1,
             .tied_embeddings = true},
    HfFamily{.model_type = "gemma3_text",
             .class_name = "Gemma3ForCausalLM",
             .kv_heads = 4,
             .head_dim = 256,
             .context_length = 131072,
             .bos_token_id = 2,
             .eos_token_id = 1,
             .rope_theta = 1e6,
             .tied_embeddings = true},
    HfFamily{.model_type = "phi3",
             .class_name = "Phi3ForCausalLM",
             .context_length = 4096,
             .eos_token_id = 32000,
             .norm_eps = 1e-5},
    HfFamily{.model_type = "mixtral",
             .class_name = "MixtralForCausalLM",
             .kv_heads = 8,
             .context_length = 131072,
             .norm_eps = 1e-5,
             .rope_theta = 1e6},
    HfFamily{.model_type = "qwen3_moe",
             .class_name = "Qwen3MoeForCausalLM",
             .kv_heads = 4,
             .context_length = 32768,
             .bos_token_id = kNone,
             .eos_token_id = kNone},
    HfFamily{.model_type = "gpt_oss",
             .class_name = "GptOssForCausalLM",
             .kv_heads = 8,
             .head_dim = 64,
             .context_length = 131072,
             .bos_token_id = kNone,
             .eos_token_id = kNone,
             .norm_eps = 1e-5,
             .rope_theta = 150000.0},
    HfFamily{.model_type = "deepseek_v2", .class_name = "DeepseekV2ForCausalLM"},
    HfFamily{.model_type = "deepseek_v3",
             .class_name = "DeepseekV3ForCausalLM",
             .context_length = 4096,
             .bos_token_id = 0,
             .eos_token_id = 1},
    HfFamily{.model_type = "phimoe",
             .class_name = "PhimoeForCausalLM",
             .kv_heads = 8,
             .context_length = 131072,
             .norm_eps = 1e-5,
             .rope_theta = 1e6},
    // With layer norms.
    HfFamily{.model_type = "gpt2",
             .class_name = "GPT2LMHeadModel",
             .context_length = 1024,
             .bos_token_id = 50256,
             .eos_token_id = 50256,
             .norm_eps = 1e-5,
             .tied_embeddings = true},
    HfFamily{.model_type = "gpt_neox",
             .class_name = "GPTNeoXForCausalLM",
             .bos_token_id = 0,
             .norm_eps = 1e-5,
             .partial_rotary_factor = 0.25},
    HfFamily{.model_type = "phi", .class_name = "PhiForCausalLM", .norm_eps = 1e-5, .partial_rotary_factor = 0.5},
    HfFamily{.model_type = "opt",
             .class_name = "OPTForCausalLM",
             .bos_token_id = 2,
             .norm_eps = 1e-5,
             .tied_embeddings = true},
    HfFamily{.model_type = "falcon",
             .class_name = "FalconForCausalLM",
             .bos_token_id = 11,
             .eos_token_id = 11,
             .norm_eps = 1e-5,
             .tied_embeddings = true},
    HfFamily{.model_type = "bloom", .class_name = "BloomForCausalLM", .norm_eps = 1e-5, .tied_embeddings = true},
    HfFamily{.model_type = "starcoder2",
             .class_name = "Starcoder2ForCausalLM",
             .kv_heads = 2,
             .context_length = 4096,
             .bos_token_id = 50256,
             .eos_token_id = 50256,
             .norm_eps = 1e-5,
             .tied_embeddings = true,
             .initializer_range = 0.018042},
};

}  // namespace

std::span<const HfFamily> hf_families() { return kFamilies; }

const HfFamily* find_hf_family(std::string_view model_type) {
  for (const HfFamily& family : kFamilies)
    if (family.model_type == model_type) return &family;
  return nullptr;
}

const HfFamily& hf_family(std::string_view model_type) {
  const HfFamily* family = find_hf_family(model_type);
  PLIMSOLL_CHECK(family != nullptr, "a family that is known: " + std::string(model_type));
  return *family;
}

}  // namespace plimsoll
