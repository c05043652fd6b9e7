// The families with layer norms in GGUF files: gpt2, gptneox, phi2, falcon, bloom and starcoder2 of llama.cpp. Internal
// to formats/gguf_*.
//
// llama.cpp keeps every fused projection as [all q, all k, all v], and the linears of gpt2 as (out, in).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "config/model_config.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/gguf_export.h"

namespace plimsoll {

// Group by group in the model's rows of this tensor, part by part in the file's; no groups for any other tensor.
QkvRows layer_norm_qkv_rows(const ModelConfig& config, std::string_view hf_name);
// Stored (out, in), while the model has (in, out).
bool is_transposed_in_gguf(const ModelConfig& config, std::string_view hf_name);

// What the tensors of a file say beyond the metadata that all architectures share. `integer`, `number` and `flag` read
// keys without the architecture's name before them. Throws a caller Error for what contradicts itself.
struct GgufKeys {
  std::function<std::optional<int64_t>(std::string_view key)> integer;
  std::function<std::optional<double>(std::string_view key)> number;
  std::function<std::optional<bool>(std::string_view key)> flag;
};
void read_layer_norm_family(const GgufFile& gguf, const GgufKeys& keys, ModelConfig& config);

// The family's own keys. Throws a caller Error for a model that llama.cpp's architecture cannot compute.
void write_layer_norm_keys(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata);
// llama.cpp reads a head of its own for this family, also where the model ties it to the embedding.
bool needs_own_head(const ModelConfig& config);

}  // namespace plimsoll
