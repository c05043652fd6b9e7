// Which layers a pipeline stage holds.
#pragma once

#include <cstdint>
#include <vector>

#include "engines/engine_run.h"

namespace plimsoll {

// Layers of each of pipeline · virtual_stages chunks, in the model's order: those of the layout, or as even as it goes,
// with what is over in the middle, as the ends hold the embedding and the head (Llama 3's 126 layers on 16 stages,
// arXiv:2407.21783). Throws a caller Error where the layout's chunks are not as many, or hold other layers than the
// model has.
std::vector<int64_t> pipeline_chunks(const EngineLayout& layout, int64_t layers);

// Megatron-Core's --decoder-first-pipeline-num-layers and --decoder-last-pipeline-num-layers (0: not given): what is
// left has to divide among the other stages, and among the chunks of each. Throws a caller Error where it does not.
std::vector<int64_t> uneven_chunks(const EngineLayout& layout, int64_t layers, int64_t first, int64_t last);

// Indices of the layers on one stage, chunk by chunk.
std::vector<std::vector<size_t>> layers_of_stage(const std::vector<int64_t>& chunks, int64_t stages, int64_t stage);

// Micro-batches whose activations each chunk of a stage holds when the stage holds most: 1F1B, and interleaved 1F1B
// (arXiv:2104.04473), where a stage runs its first chunk for as many micro-batches as there are stages, then the next.
std::vector<double> micro_batches_in_flight(const EngineLayout& layout, int64_t micro_batches, int64_t stage);

}  // namespace plimsoll
