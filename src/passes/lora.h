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
  bool dora = false;    // with a magnitude for each output
};

float lora_scale(double alpha, int64_t rank, bool rslora);

// The linears of `graph` that `targets` selects: names separated by commas, each the last part of a module path, or
// "all-linear" (every linear but the head and the experts) or "experts" (all three of every expert). Throws a caller
// Error for a name that selects nothing.
// Models with experts: each expert has adapters of its own, named as if its linears were modules. transformers 5 holds
// the experts of a layer in one parameter; PEFT 0.21 stacks such adapters when it loads them, for families that it has
// a rule for, and only with the last of an expert's linears among the targets. It takes gate_proj, up_proj, down_proj
// and gate for experts and router alone, so that MLPs beside them (dense layers, shared experts) cannot be named.
// The experts of phimoe have no names there. Those of gpt_oss are parameters (PEFT's target_parameters) whose adapters
// it keeps expert by expert in the rows of A, and rank by rank in the columns of B: neither read nor written here.
std::vector<LoraModule> select_lora_modules(const Graph& graph, const std::string& targets, int64_t rank, float scale);

// Adds the adapters of `modules` to the graph, as persistent adapter values in the compute dtype. Throws a caller Error
// for a module that is no such linear.
//
// DoRA (Liu et al. 2024, arXiv:2402.09353): y = m / ‖W + s B A‖ · (x Wᵀ + s · (x Aᵀ) Bᵀ), with the norm of each
// output's weights, a constant for the gradient, and a trained magnitude m (out) f32. The norm is an op of the graph;
// with `frozen` it is a persistent value instead, to be made once while loading, and is listed there.
struct DoraNorm {
  std::string weight, a, b, norm;  // names of values
  DoraNormAttrs attrs;
};
void apply_lora(Graph& graph, const std::vector<LoraModule>& modules, std::vector<DoraNorm>* frozen = nullptr);

// Zeroes a share `p` of what each adapter of the graph reads, in training only (Hu et al. 2021). No mask is kept: the
// same bits are drawn again for the gradient.
void add_lora_dropout(Graph& graph, double p);

}  // namespace plimsoll
