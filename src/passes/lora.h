// Low-rank adapters: y = x Wᵀ becomes y = x Wᵀ + s · (x Aᵀ) Bᵀ with A (r, in), B (out, r).   Hu et al. 2021,
// arXiv:2106.09685. Names and scale follow PEFT: s = alpha / r, or alpha / √r for rank-stabilised LoRA
// (arXiv:2312.03732).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace plimsoll {

struct LoraModule {
  std::string path;  // "model.layers.0.self_attn.q_proj"
  int64_t rank = 0;
  float scale = 1.0F;
  bool in_out = false;  // the weight is stored (in, out): a Conv1D, PEFT's fan_in_fan_out
};

std::string lora_a_name(const std::string& path);  // "base_model.model.<path>.lora_A.weight"
std::string lora_b_name(const std::string& path);

float lora_scale(double alpha, int64_t rank, bool rslora);

// The linears of `graph` that `targets` selects: "all-linear" (every linear but the head), or names separated
// by commas, each the last part of a module path. Throws a caller Error for a name that selects nothing.
std::vector<LoraModule> select_lora_modules(const Graph& graph, const std::string& targets, int64_t rank, float scale);

// Adds the adapters of `modules` to the graph, as persistent adapter values in the compute dtype.
void apply_lora(Graph& graph, const std::vector<LoraModule>& modules);

}  // namespace plimsoll
