// Blocks that the forward passes of several families share.
#pragma once

#include "engines/eager/model.h"

namespace plimsoll::eager {

Tensor plain_layer_norm(Torch& t, const Norm& norm, const Tensor& x);
// x turned by its angles: (x * cos) + (rotate_half(x) * sin).
Tensor rotate(Torch& t, const Tensor& x, const Tensor& cos, const Tensor& sin);
Tensor activate(Torch& t, const Model& model, const Tensor& x);
bool drops_out(const ModelConfig& config);  // families whose published configs have dropout
// Experts by grouped products: rows sorted by expert, chosen rows for each token.
Tensor expert_mlp(Torch& t, const Model& model, const Layer& layer, const Tensor& x);
Tensor layer_norm_layer(Torch& t, const Model& model, const Layer& layer, const Tensor& x, const Tensor& cos,
                        const Tensor& sin, const Tensor& mask);

}  // namespace plimsoll::eager
