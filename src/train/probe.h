// One forward pass, and a backward pass when asked, on given tensors: so that anybody can compare with another engine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/dtype.h"

namespace plimsoll {

struct ProbeOptions {
  std::string model, adapter;  // with an adapter, gradients are those of the adapter
  std::string batch;  // safetensors: input_ids (B, T); optional labels, attention_mask, position_ids, segment_ids
  std::string out;    // safetensors: logits (B, T, V) f32, loss, grad.<name>
  bool gradients = false;
  DType precision = DType::f32;
  std::string quant = "auto";  // of the base: config/quant_words.h
  int threads = 0;             // 0: all
};

struct ProbeReport {
  std::optional<double> loss;  // of a batch with labels
};

// Throws a caller Error for a batch that lacks input_ids, has ids outside the vocabulary, or tensors of other shapes.
ProbeReport run_probe(const ProbeOptions& options);

}  // namespace plimsoll
