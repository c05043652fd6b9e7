// Where one op alone adds to a gradient, it may overwrite it in the first micro-batch of a step: no clearing before, no
// reading of zeros.
#pragma once

#include <string>
#include <unordered_set>

#include "ir/graph.h"

namespace plimsoll {

// Marks those ops (LinearAttrs::starts_sum; they overwrite when RunState::first_micro_batch is set). Returns the names
// of the gradients that need no clearing any more. Later passes may reorder ops.
std::unordered_set<std::string> mark_first_writes(Graph& step);

}  // namespace plimsoll
