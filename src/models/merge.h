// An adapter folded into its model's weights.
#pragma once

#include <string>

namespace plimsoll {

struct MergeOptions {
  std::string model, adapter;
  std::string target;         // ends in .gguf: a GGUF file; else a Hugging Face folder
  std::string type = "bf16";  // of gguf_file_type.h; of a folder f32, bf16 or f16
};

void run_merge(const MergeOptions& options);

}  // namespace plimsoll
