// One forward pass, and a backward pass when asked, on given tensors: so that anybody can compare with another engine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "config/model_config.h"
#include "formats/tensor_index.h"
#include "passes/lora.h"

namespace plimsoll {

struct ProbeRequest {
  std::string batch_path;  // safetensors: input_ids (B, T); optional labels, attention_mask, position_ids, segment_ids
  std::string out_path;    // safetensors: logits (B, T, V) f32, loss, grad.<name>
  bool gradients = false;
  DType precision = DType::f32;
  int threads = 1;
  // An adapter: its modules and where its tensors lie; with one, gradients are those of the adapter.
  std::vector<LoraModule> adapter_modules;
  const TensorIndex* adapter = nullptr;
};

struct ProbeResult {
  bool has_loss = false;
  double loss = 0;
  int64_t batch = 0, length = 0, counted_tokens = 0, gradient_tensors = 0;
  int64_t arena_bytes = 0;
};

// Throws a caller Error for a batch that lacks input_ids, has ids outside the vocabulary, or tensors of other shapes.
ProbeResult run_probe(const ModelConfig& config, const TensorIndex& weights, const ProbeRequest& request);

}  // namespace plimsoll
