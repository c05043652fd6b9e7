// One forward (and backward) on given tensors, for comparison with other engines.
#pragma once

#include <string>

#include "base/dtype.h"

namespace plimsoll {

struct ProbeOptions {
  std::string model, adapter;
  std::string batch;  // safetensors: input_ids, optional labels, attention_mask, position_ids
  std::string out;    // safetensors: logits, loss, grad.*
  bool gradients = false;
  DType precision = DType::f32;
};

void run_probe(const ProbeOptions& options);

}  // namespace plimsoll
