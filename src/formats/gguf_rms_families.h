// Families with RMS norms beside llama and qwen in GGUF files: granite, olmo2, gemma, gemma2, gemma3, phi3, and the
// mixtures mixtral (llama with experts), qwen3moe and deepseek2 of llama.cpp. Internal to formats/gguf_*.
//
// llama.cpp stores the norms of the Gemmas as 1 + weight, and the experts of a layer as one tensor (experts, out, in).
// gpt-oss and phimoe are not read or written: llama.cpp truncates the YaRN range of the first and holds its gate and up
// apart, and it routes the second by a plain softmax, so that the same weights give other logits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "config/model_config.h"
#include "formats/gguf.h"
#include "formats/gguf_export.h"
#include "formats/gguf_families.h"

namespace plimsoll {

// "gemma3_text" → "gemma3", "mixtral" → "llama"; empty for what is none of these.
std::string_view gguf_rms_name(std::string_view architecture);
// "gemma3" → "gemma3_text"; `experts`: of a llama file: "mixtral" where there are any. Empty: none of these.
std::string_view rms_architecture(std::string_view gguf_name, int64_t experts);

// "blk.3.post_ffw_norm.weight" ↔ "model.layers.3.post_feedforward_layernorm.weight"; empty without counterpart here.
// Names that all families share are those of formats/gguf_model.h.
std::string rms_hf_name(const ModelConfig& config, std::string_view gguf_name);
std::string rms_gguf_name(const ModelConfig& config, std::string_view hf_name);

// A matrix of one expert, and the tensor that holds those of all.
struct ExpertMatrix {
  std::string gguf_name;
  int64_t expert = 0;
};
std::optional<ExpertMatrix> expert_matrix(const ModelConfig& config, std::string_view hf_name);
std::string expert_hf_name(const ModelConfig& config, std::string_view gguf_name, int64_t expert);  // empty: no experts

// What the file's values are more than the model's: 1 for the norms of the Gemmas.
float added_in_gguf(const ModelConfig& config, std::string_view hf_name);

void read_rms_family(const GgufFile& gguf, const GgufKeys& keys, ModelConfig& config);
// The family's own keys. Throws a caller Error for a model that llama.cpp's architecture cannot compute.
void write_rms_keys(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata);

}  // namespace plimsoll
