// Seconds and bytes of one replica of an inference server: some devices that hold one copy of the model, cut by tensor
// parallelism.
#pragma once

#include <cstdint>
#include <string>

#include "cost/collective.h"
#include "cost/device_catalog.h"
#include "cost/kernel_time.h"
#include "cost/model_shape.h"
#include "cost/time_constants.h"

namespace plimsoll {

struct ServingSetup {
  const ModelConfig* config = nullptr;
  const ModelShape* model = nullptr;  // shape_of(*config)
  const Device* device = nullptr;
  TimeConstants constants;
  int64_t tensor = 1;         // devices of a replica
  double weight_bytes = 2;    // of a weight: 2, 1 or about 0.5 (NF4 with its scales)
  double kv_bytes = 2;        // of a value in the cache
  double memory_share = 0.9;  // of a device, for weights, cache and activations
  int64_t block_tokens = 16;  // the cache is handed out in blocks (PagedAttention, arXiv:2309.06180)
  // Most tokens of one forward pass, and most sequences in it. 0: as vLLM's server sets them, 8192 and 1024 on devices
  // of 70 GiB and more (A100s left out: here what has 8-bit products), 2048 and 256 on others
  // (vllm/engine/arg_utils.py).
  int64_t step_tokens = 0, most_sequences = 0;
  int64_t request_tokens = 0;  // of a prompt and its answer: layers that slide keep their window of them. 0: all
};

// What every forward pass of the replica costs, worked out once.
struct ServingModel {
  ServingSetup setup;  // without zeros: what was left open is filled in
  KernelRates rates;
  double kv_token_bytes = 0;  // of one token in the cache, of one device (over a request, where layers slide)
  int64_t cache_tokens = 0;   // tokens that fit beside the weights, whole blocks
  double weights_device_bytes = 0, workspace_bytes = 0;
};

// Bytes are those of serving_bytes for vLLM (engines/serving_memory.h), of `memory_share` of the device. Throws a
// caller Error where weights and workspace leave no room for a block of the cache.
ServingModel serving_model(const ServingSetup& setup);

// The least power of two of devices that holds the model and one request of `request_tokens`, beyond a node where the
// catalogue knows its network. Throws a caller Error where no number does.
ServingModel least_serving_model(const ServingSetup& setup, int64_t request_tokens);

// Whether the catalogue knows what joins `tensor` devices: their link, and the network where they fill several nodes.
bool can_join(const Device& device, const TimeConstants& constants, int64_t tensor);

// "a smaller cache with --kv 8bit, …": only what is not set yet. Empty where all of it is.
std::string smaller_setups(const ServingSetup& setup);

// One pass over `prefill_tokens` new prompt tokens (which see `prefill_keys` keys on average) and one token each of
// `decoding` sequences that together hold `cached_tokens` in the cache.
double pass_seconds(const ServingModel& model, int64_t prefill_tokens, double prefill_keys, int64_t decoding,
                    int64_t cached_tokens);

}  // namespace plimsoll
