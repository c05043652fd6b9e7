// Bytes that one rank of a Megatron-like or FSDP-like run holds, in closed form: what the search over layouts reads a
// hundred thousand times a second. The profiles of engines/ (which follow every buffer) have the last word on what the
// search finds; docs/search.md says how the two agree.
#pragma once

#include <cstdint>
#include <vector>

#include "cost/model_shape.h"
#include "engines/engine_run.h"

namespace plimsoll {

struct RankBytes {
  double weights = 0, gradients = 0, optimizer = 0;
  double activations = 0;  // kept for the backward pass, of all micro-batches in flight
  double workspace = 0;    // one layer at work, logits, gathered weights, and what the process itself takes
  int64_t stage = 0;       // the pipeline stage with the most
  double total() const { return weights + gradients + optimizer + activations + workspace; }
};

// What a layer holds for one micro-batch, and its parameters on one rank before ZeRO cuts them. Depends on tensor,
// context and expert parallelism, micro-batch and recipe; not on the rest of the layout.
struct LayerBytes {
  double dense_parameters = 0, expert_parameters = 0, adapter_parameters = 0;
  double kept = 0;        // activations kept without recomputing
  double kept_input = 0;  // with full recompute: the layer's input
};
LayerBytes layer_bytes(const EngineRun& run, const ModelShape& model, const LayerShape& layer);

// The stage with the most bytes. Goes through every stage and layer.
RankBytes rank_bytes(const EngineRun& run, const ModelShape& model);

// The same from parts that are already known: one entry of `layers` for each group of the model.
RankBytes rank_bytes(const EngineRun& run, const ModelShape& model, const std::vector<LayerBytes>& layers);

}  // namespace plimsoll
