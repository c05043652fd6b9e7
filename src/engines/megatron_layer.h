// One layer of a model under Megatron-Core: its parameters on a rank, and the bytes it keeps for the backward pass.
#pragma once

#include <cstddef>

#include "engines/engine_run.h"
#include "engines/stack_memory.h"

namespace plimsoll {

// Ranks of each kind, as numbers to divide by.
struct MegatronSplit {
  double tensor, pipeline, context, data, expert, expert_tensor, virtual_stages;
  bool sequence;
  double whole() const { return sequence ? tensor : 1; }  // by how much values between the products are cut
};
MegatronSplit megatron_split(const EngineLayout& layout);

// Values of a layer before any rank cuts them.
struct MegatronParameters {
  double dense = 0;       // cut over the tensor ranks
  double expert = 0;      // cut over expert and expert-tensor ranks
  double replicated = 0;  // norms, routers, the down-projections of latent attention
  double adapter = 0;     // trained with the dense part's cut
  double expert_adapter = 0;
};

// Layers beyond the last are as the last (further tokens).
MegatronParameters megatron_parameters(const ModelConfig& model, const EngineRecipe& recipe, size_t layer);

struct MegatronLayerBytes {
  double kept = 0;   // of one micro-batch until its backward pass
  double again = 0;  // what is made a second time while the layer's backward pass runs
};
MegatronLayerBytes megatron_layer_bytes(const EngineRun& run, const StackMemory& stack, size_t layer);

// Tokens of a micro-batch on a rank, before sequence parallelism.
double megatron_tokens(const EngineRun& run);

}  // namespace plimsoll
