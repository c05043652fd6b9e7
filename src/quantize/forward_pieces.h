// A forward graph in pieces: what comes before the layers, each layer, what comes after them. So a model runs with the
// weights of one piece in memory; between pieces the values that the rest needs lie in a file.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace plimsoll {

struct ForwardPiece {
  Graph graph;  // outputs: what it hands on, and at the end the graph's own
  std::vector<ValueId> carried_in,
      carried_out;  // inputs and outputs of `graph`; the first piece has none, the last too
};

// Tables that depend on positions alone are made anew in each piece that reads them. Layers must follow one another.
std::vector<ForwardPiece> cut_forward(const Graph& forward);

// Adds the ops and values of `from` to `into`, values and ops named `prefix` + name. Returns where each value went.
std::vector<ValueId> append_graph(Graph& into, const Graph& from, const std::string& prefix);

}  // namespace plimsoll
