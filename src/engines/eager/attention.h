// Attention of transformers on a Tape: which kernel PyTorch would take on CUDA, and what it and its surroundings keep.
#pragma once

#include "engines/eager/model.h"

namespace plimsoll::eager {

// The kernel that a model gets: what the recipe asks for, or PyTorch's choice for these types, heads and mask.
AttentionKernel attention_kernel(const Model& model, Type type, bool masked);

// Whether transformers makes a mask: where a window is shorter than the sequence, or for eager attention.
bool needs_mask(const Model& model);
// Undefined where none is made. `type` of the activations.
Tensor causal_mask(Torch& t, const Model& model, Type type);

// q (tokens × heads·dim), k and v (tokens × kv heads·dim). `contiguous`: q, k came out of cat, head by head, so that
// the result has to be copied into rows of tokens.
Tensor attention(Torch& t, const Model& model, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                 bool contiguous);

}  // namespace plimsoll::eager
