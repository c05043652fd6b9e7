// Bytes of serving a model: what every engine needs, whatever it is.
#pragma once

#include <cstdint>

#include "engines/engine_run.h"

namespace plimsoll {

double weight_bits(WeightFormat format);  // of a quantized weight, scales included

// Keys and values of one token in all layers on one of `tensor` ranks; latent attention keeps its low-rank values.
int64_t kv_bytes_per_token(const ModelConfig& model, double element_bytes, int64_t tensor);
// Of a sequence: layers that slide keep their window only.
int64_t kv_bytes_of_sequence(const ModelConfig& model, int64_t tokens, double element_bytes, int64_t tensor);

}  // namespace plimsoll
