// Inside the ops of the tape only.
#pragma once

#include <initializer_list>

#include "engines/eager/torch_ops.h"

namespace plimsoll::eager {

// The node of a result, when a gradient can flow; `operands` in the order of PyTorch's signature.
std::shared_ptr<Node> record(Torch& t, std::string_view name, std::initializer_list<const Tensor*> operands);

}  // namespace plimsoll::eager
