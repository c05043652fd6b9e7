// What `generate` and `chat` share.
#pragma once

#include <vector>

#include "cli/arguments.h"
#include "cli/output.h"
#include "train/generate.h"

namespace plimsoll::cli {

struct GenerationOptions {
  std::string model, adapter;
  SamplingOptions sampling;
  int64_t threads = 0;
  std::string precision = "fp32";
  std::string quant = "auto";

  DType dtype() const;  // caller Error for another word
};

std::vector<Argument> generation_arguments(GenerationOptions& options);

Json generate_json(const GenerateReport& report);

}  // namespace plimsoll::cli
