// The tokenizer of a Hugging Face folder as GGUF metadata, as llama.cpp's converter writes it.
#pragma once

#include <string>
#include <string_view>

#include "config/model_config.h"
#include "formats/gguf/gguf.h"

namespace plimsoll {

// `tokenizer_json` is the path of tokenizer.json; `tokenizer_config_json` that of tokenizer_config.json or empty;
// `chat_template` its text or empty. Byte-level BPE only, with the way of splitting text of GPT-2, SmolLM, Llama 3,
// Qwen 2 or GPT-4o (gpt-oss), which llama.cpp has under these names; anything else is a caller Error.
GgufMetadata gguf_tokenizer_metadata(const std::string& tokenizer_json, const std::string& tokenizer_config_json,
                                     std::string_view chat_template, const ModelConfig& config);

}  // namespace plimsoll
