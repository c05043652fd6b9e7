// PEFT LoRA adapters: a folder with adapter_config.json and adapter_model.safetensors
// (https://huggingface.co/docs/peft, "PEFT checkpoint format"). A linear layer y = W x becomes
// y = W x + scale * B (A x), scale = alpha / r, or alpha / sqrt(r) with rsLoRA.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/safetensors_writer.h"
#include "formats/tensor_index.h"

namespace plimsoll {

struct PeftConfig {
  int64_t rank = 8;
  double alpha = 8;
  bool rslora = false;
  double dropout = 0;
  bool dora = false;
  bool fan_in_fan_out = false;  // weights of the base are stored (in, out): GPT-2's Conv1D. PEFT corrects it by itself
  std::string base_model;       // name or path; may be empty
  std::vector<std::string> target_modules;  // names as q_proj, or one expression that PEFT matches with whole paths
  bool target_is_expression = false;
  // Exceptions for modules whose path ends in a key, as PEFT matches them; the first that fits holds.
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;

  int64_t rank_of(std::string_view module) const;
  double alpha_of(std::string_view module) const;
  double scale_of(std::string_view module) const;
};

struct PeftModule {
  std::string path;  // "model.layers.0.self_attn.q_proj"
  TensorEntry a;     // (r, in)
  TensorEntry b;     // (out, r)
  int64_t rank = 0;
  double scale = 0;
  std::optional<TensorEntry> magnitude = {};  // (out), of DoRA
};

struct PeftAdapter {
  PeftConfig config;
  std::vector<PeftModule> modules;  // sorted by path
  TensorIndex tensors;              // the entries of `modules` refer to its file
};

// Throws a caller Error that names what cannot be read (saved modules, trained biases, adapted embeddings, …) or
// does not fit together. Keys that are not known are noted on stderr.
PeftAdapter open_peft_adapter(const std::string& folder);

PeftConfig parse_peft_config(std::string_view json, std::string_view source);

// adapter_config.json for inference, as PEFT 0.21 reads it.
std::string write_peft_config(const PeftConfig& config);

// Names in an adapter: base_model.model.<module>.lora_A.weight, and .lora_magnitude_vector of DoRA.
inline constexpr std::string_view kLoraASuffix = ".lora_A.weight";
std::string peft_tensor_name(std::string_view module, char a_or_b);
std::string peft_magnitude_name(std::string_view module);

}  // namespace plimsoll
