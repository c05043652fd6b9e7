// Attention of transformers on a Tape: which kernel PyTorch would take on CUDA, and what it and its surroundings keep.
#pragma once

#include "engines/eager/model.h"

namespace plimsoll::eager {

// The kernel that a model gets: what the recipe asks for, or PyTorch's choice for these types, heads and mask.
AttentionKernel attention_kernel(const Model& model, Type type, bool masked);

// Masks as transformers makes them once for all layers: for layers that see everything where attention is eager, for
// those that slide also where the sequence is no shorter than the window. Undefined where none is made.
struct LayerMasks {
  Tensor full, sliding;
};
LayerMasks causal_masks(Torch& t, const Model& model, Type type);  // `type` of the activations

// q (tokens × heads·dim), k and v (tokens × kv heads·dim). `contiguous`: q, k came out of cat, head by head, so that
// the result has to be copied into rows of tokens.
// `sinks`: a trained score of each head, or none.
Tensor attention(Torch& t, const Model& model, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                 bool contiguous, const Parameter* sinks = nullptr);

}  // namespace plimsoll::eager
