// Below the activations: what recomputed layers keep for the backward pass, their inputs first of all, goes to disk
// behind its last use in the forward pass and comes back while the backward pass works on the layer above. As with
// streamed weights (passes/stream.h), the result is the same to the bit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace plimsoll {

// Before stream_weights, when the order of all other ops is settled. Ops of one layer that follow one another are a
// stage. A value is written from the end of the stage of its last forward use to the end of the next, and read again
// from the begin of the stage before the one that needs it. Values that come back within three stages stay, and those
// that several layers need.
// `layers`: the first layers of the model, those that are recomputed.
void stream_inputs(Graph& graph, int64_t layers);

struct OffloadedTensor {
  std::string name;
  int64_t bytes = 0;
};
// What a graph writes in this way, in the order of the writing.
std::vector<OffloadedTensor> offloaded_tensors(const Graph& graph);

}  // namespace plimsoll
