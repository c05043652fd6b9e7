// Below the weights: frozen matrices of some layers lie on disk and come in while the layer before computes, so that
// two layers' weights are in memory instead of all. As ZeRO-Infinity does for GPUs (Rajbhandari et al. 2021,
// arXiv:2104.07857). The result is that of the resident weights, to the bit.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace plimsoll {

// Comes last, when the order of the ops is settled. Ops of one layer that follow one another are a stage; the streamed
// weights a stage reads are prefetched at the begin of the stage before, and awaited at its own. A stage whose layer
// was the last one that read weights keeps them.
// `layers`: the first layers of the model stream. Adapters, norms, biases and whatever is trained stay.
void stream_weights(Graph& graph, int64_t layers);

// The parameters that are streamed then, in the order in which they are first read.
std::vector<ValueId> streamed_parameters(const Graph& graph, int64_t layers);

}  // namespace plimsoll
