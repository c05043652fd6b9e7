// An adapter folded into its model's weights.
#pragma once

#include <string>

#include "base/dtype.h"

namespace plimsoll {

struct MergeOptions {
  std::string model, adapter;
  std::string target;  // ends in .gguf: a GGUF file; else a Hugging Face folder
  DType type = DType::bf16;
};

void run_merge(const MergeOptions& options);

}  // namespace plimsoll
