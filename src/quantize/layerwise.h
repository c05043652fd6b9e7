// Quantization that looks at text: layer after layer runs over it with the rest of the model on disk, the products of
// its linears' inputs are summed, and the layer is rounded by GPTQ or scaled by AWQ before it is written.
#pragma once

#include "base/thread_pool.h"
#include "formats/model_files.h"
#include "quantize/quantized_target.h"

namespace plimsoll {

// Bytes of the arena that this takes.
int64_t layerwise_bytes(const ModelFiles& model, const QuantizeOptions& options, const QuantizedTarget& target,
                        int threads);

// Writes every tensor to `target`, whose order is that of the layers. With GPTQ a layer sees what the quantized layers
// before it give, with AWQ what the original ones give.
void quantize_layerwise(const ModelFiles& model, const QuantizeOptions& options, QuantizedTarget& target,
                        ThreadPool& pool);

}  // namespace plimsoll
