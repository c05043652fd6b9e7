// Keys of the families with RMS norms beside llama and qwen in GGUF files: granite, olmo2, gemma, gemma2, gemma3, phi3,
// and the mixtures mixtral (llama with experts), qwen3moe, gpt-oss and deepseek2 of llama.cpp. Internal to
// formats/gguf_*.
//
// llama.cpp stores the norms of the Gemmas as 1 + weight, and the experts of a layer as one tensor (experts, out, in).
// Those of gpt-oss are turned: the model has inputs before outputs, gate and up in one (TurnedExperts). llama.cpp
// rounds the limits of its YaRN scaling, the model does not: logits differ a little, there as with everybody's files.
// phimoe is not read or written: llama.cpp routes by a plain softmax, so that the same weights give other logits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "config/model_config.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/gguf_export.h"
#include "formats/gguf/gguf_families.h"

namespace plimsoll {

// What the file's values are more than the model's: 1 for the norms of the Gemmas.
float added_in_gguf(const ModelConfig& config, std::string_view hf_name);

void read_rms_family(const GgufFile& gguf, const GgufKeys& keys, ModelConfig& config);
// The family's own keys. Throws a caller Error for a model that llama.cpp's architecture cannot compute.
void write_rms_keys(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata);

}  // namespace plimsoll
