// Ops of the backward pass that read the product of a gated activation wait for gated_activation_grad, which reads the
// same gate and up and can write the product on the way: it is then not made a second time.
#pragma once

#include "ir/graph.h"

namespace plimsoll {

// Wants autodiff and recompute done. An op that waits must give no result (it adds to a gradient); where any other op
// reads the product, the product is made as before.
void share_products(Graph& graph);

}  // namespace plimsoll
