// Bytes of serving a model: what every engine needs, whatever it is.
#pragma once

#include <cstdint>
#include <string>

#include "engines/engine_run.h"

namespace plimsoll {

double weight_bits(WeightFormat format);  // of a quantized weight, scales included

// Keys and values of one token in all layers on one of `tensor` ranks; latent attention keeps its low-rank values.
int64_t kv_bytes_per_token(const ModelConfig& model, double element_bytes, int64_t tensor);
// Of a sequence: layers that slide keep their window only.
int64_t kv_bytes_of_sequence(const ModelConfig& model, int64_t tokens, double element_bytes, int64_t tensor);

// --- how many users fit
// -----------------------------------------------------------------------------------------------

struct ServingRun {
  std::string engine;  // vllm, llama.cpp, plimsoll
  ModelConfig model;
  WeightFormat weights = WeightFormat::bf16;
  int64_t weights_bytes = 0;   // of the whole model, where they are known to the byte; 0: by `weights`
  double kv_bytes = 2;         // of a cached value: 2 for f16, 34.0 / 32 for q8_0, 18.0 / 32 for q4_0, 1 for fp8
  int64_t tensor = 1;          // devices that share the model
  int64_t device_bytes = 0;    // of one
  int64_t context_tokens = 0;  // of a user, prompt and answer
  int64_t batch_tokens = 0;    // of one forward pass; 0: the engine's usual ones
  int64_t logit_rows = 0;      // that exist at once; 0: the engine's usual ones
};

struct ServingBytes {                               // on one device
  int64_t weights = 0, workspace = 0, outside = 0;  // outside: context, communicators
  int64_t kv_per_token = 0, kv_per_user = 0;
  int64_t room = 0;                // for keys and values
  int64_t most_users = 0;          // at the same time, each with its whole context
  int64_t least_device_bytes = 0;  // of a device that serves one user
};

// Of all tensors in a GGUF file of this type (q4_k_m, …), as `merge` and llama.cpp's quantizer write it. Throws a
// caller Error for a type that is none, naming `flag`, and for models that GGUF cannot express.
int64_t gguf_weight_bytes(const ModelConfig& model, const std::string& type, const std::string& flag);

// Throws a caller Error for an engine that is none of these; where not one user fits, most_users is 0.
ServingBytes serving_bytes(const ServingRun& run);

}  // namespace plimsoll
