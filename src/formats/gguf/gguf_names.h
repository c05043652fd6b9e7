// What llama.cpp calls the tensors of each family that it has, and which of our architectures an architecture of its
// files is. The one place for these names; what else differs between the two is in gguf_families.h (layer norms) and
// gguf_rms_families.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "config/model_config.h"

namespace plimsoll {

// "gemma3_text" → "gemma3", "mistral" and "mixtral" → "llama"; empty where llama.cpp does not have the family.
std::string_view gguf_architecture(std::string_view architecture);
// "gemma3" → "gemma3_text"; a llama file with `experts` is a mixtral. Empty: none that is known here.
std::string_view architecture_of_gguf(std::string_view gguf_name, int64_t experts);
std::string gguf_architecture_names();  // of files, for messages

// The family's norms have biases: its keys are those of gguf_families.h.
bool has_layer_norms_in_gguf(std::string_view architecture);

// "blk.3.attn_q.weight" ↔ "model.layers.3.self_attn.q_proj.weight" for a model of that family; empty for a name without
// counterpart, and for experts.
std::string hf_name_of_gguf(const ModelConfig& config, std::string_view gguf_name);
std::string gguf_name_of_hf(const ModelConfig& config, std::string_view hf_name);

// A matrix of one expert, and the tensor (experts, out, in) that holds those of all.
struct ExpertMatrix {
  std::string gguf_name;
  int64_t expert = 0;
};
std::optional<ExpertMatrix> expert_matrix(const ModelConfig& config, std::string_view hf_name);
std::string expert_hf_name(const ModelConfig& config, std::string_view gguf_name, int64_t expert);  // empty: no experts

// A tensor of a file that is part `part` of the `parts` of one tensor of the model (TurnedExperts), which the other
// name is of. For the model's name all parts are asked for one by one.
struct ExpertPart {
  std::string name;
  int part = 0, parts = 1;
};
std::optional<ExpertPart> expert_part_of_gguf(const ModelConfig& config, std::string_view gguf_name);
std::optional<ExpertPart> expert_part_of_hf(const ModelConfig& config, std::string_view hf_name, int part);

}  // namespace plimsoll
