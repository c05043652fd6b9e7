// Shared by passes that insert or drop ops.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace plimsoll {

// Replaces the op list and sets every producer anew. Values that no op writes any more keep producer -1.
void set_ops(Graph& graph, std::vector<Op> ops);

// Drops ops whose results nobody reads and that update nothing. Outputs are read by the host, transfers are kept.
void remove_dead_ops(Graph& graph);

}  // namespace plimsoll
