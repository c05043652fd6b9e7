// What a GGUF file says about a language model: its config from the metadata, and its tensors under the names that
// Hugging Face gives them. llama (with mistral), qwen2 and qwen3; gpt2, gptneox, phi2, falcon, bloom and starcoder2 are
// in gguf_families.h.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "config/model_config.h"
#include "formats/gguf.h"
#include "formats/tensor_index.h"

namespace plimsoll {

// `read` reads small tensors that belong to the config (rope_freqs.weight). Throws a caller Error for an unknown
// architecture and for metadata or tensors that are missing or contradict each other.
ModelConfig gguf_model_config(const GgufFile& gguf, const ReadAt& read, std::string_view source);

// Every tensor that Hugging Face knows too, by its name there; tensors with another name keep their own.
TensorIndex gguf_tensor_index(const GgufFile& gguf, std::shared_ptr<InputFile> file, const ModelConfig& config);

// "blk.3.attn_q.weight" ↔ "model.layers.3.self_attn.q_proj.weight"; empty for a name without counterpart.
std::string hf_name_of_gguf(std::string_view name);
std::string gguf_name_of_hf(std::string_view name);

// The heads whose rows a GGUF file of this model interleaves in a tensor (by its Hugging Face name): q and k of llama
// and mistral. 0 for all others.
int64_t interleaved_heads(const ModelConfig& config, std::string_view hf_name);

}  // namespace plimsoll
