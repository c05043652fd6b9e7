// What a GGUF file says about a language model: its config from the metadata, and its tensors under the names that
// Hugging Face gives them (gguf_names.h).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "config/model_config.h"
#include "formats/gguf/gguf.h"
#include "formats/tensor_index.h"

namespace plimsoll {

// `read` reads small tensors that belong to the config (rope_freqs.weight). Throws a caller Error for an unknown
// architecture and for metadata or tensors that are missing or contradict each other.
ModelConfig gguf_model_config(const GgufFile& gguf, const ReadAt& read, std::string_view source);

// Every tensor that Hugging Face knows too, by its name there; tensors with another name keep their own.
TensorIndex gguf_tensor_index(const GgufFile& gguf, std::shared_ptr<InputFile> file, const ModelConfig& config);

// The heads whose rows a GGUF file of this model interleaves in a tensor (by its Hugging Face name): q and k of llama
// and mistral. 0 for all others.
int64_t interleaved_heads(const ModelConfig& config, std::string_view hf_name);

}  // namespace plimsoll
