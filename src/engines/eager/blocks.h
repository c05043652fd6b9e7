// Blocks that the forward passes of several families share.
#pragma once

#include "engines/eager/model.h"

namespace plimsoll::eager {

Tensor rms_norm(Torch& t, const Model& model, const Norm& norm, const Tensor& x);
Tensor gated_mlp(Torch& t, const Model& model, const Layer& layer, const Tensor& x);
// Multi-head latent attention (DeepSeek).
Tensor latent_attention(Torch& t, const Model& model, const Layer& layer, const Tensor& x, const Tensor& cos,
                        const Tensor& sin, const Tensor& mask);
Tensor plain_layer_norm(Torch& t, const Norm& norm, const Tensor& x);
// x turned by its angles: (x * cos) + (rotate_half(x) * sin).
Tensor rotate(Torch& t, const Tensor& x, const Tensor& cos, const Tensor& sin);
// The same half by half: first · cos - second · sin, second · cos + first · sin.
// `interleaved`: the halves are every other value.
Tensor rotate_halves(Torch& t, const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved = false);
Tensor activate(Torch& t, const Model& model, const Tensor& x);
bool drops_out(const ModelConfig& config);  // families whose published configs have dropout
// Experts by grouped products: rows sorted by expert, chosen rows for each token.
Tensor expert_mlp(Torch& t, const Model& model, const Layer& layer, const Tensor& x);
// `probabilities`: those of attention, where the family's layers return them. BLOOM's `cos` is its bias of distances.
Tensor layer_norm_layer(Torch& t, const Model& model, const Layer& layer, const Tensor& x, const Tensor& cos,
                        const Tensor& sin, const Tensor& mask, Tensor& probabilities);

}  // namespace plimsoll::eager
