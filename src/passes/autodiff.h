// Reverse-mode differentiation of a loss graph, as a pass: backward ops are appended in reverse order of the forward
// ops, each by the gradient rule of its op (ops/).
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace plimsoll {

std::string gradient_name(const std::string& parameter);  // "grad.<parameter>"

// `trained`: persistent values to differentiate by. Each gets a persistent f32 accumulator gradient_name(name), which
// backward ops add onto; the host or a fill_zero op clears it.
void autodiff(Graph& graph, const std::vector<ValueId>& trained);

}  // namespace plimsoll
