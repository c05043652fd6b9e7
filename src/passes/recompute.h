// Trades flops for bytes: values of the forward pass that the backward pass reads are made again just before they are
// needed instead of being kept.   Chen et al. 2016, arXiv:1604.06174.
//
// Ops marked cheap (norms, gated activations) are always made again. In a recomputed layer every op is, from the
// layer's input on, so that only the input is kept; or every op but attention, whose price grows with the row's length
// while its result does not.
#pragma once

#include <cstdint>

#include "ir/graph.h"

namespace plimsoll {

// `layers`: the first so many decoder layers are recomputed. The first ones, because while the backward pass works on
// them the activations of later layers are gone already, so their working set does not add to the peak.
void recompute(Graph& graph, int64_t layers, bool keep_attention = false);

}  // namespace plimsoll
