// What `generate` and `chat` share.
#pragma once

#include <vector>

#include "cli/arguments.h"
#include "cli/output.h"
#include "config/generation_config.h"
#include "generate/generator.h"

namespace plimsoll::cli {

struct GenerationOptions {
  std::string model, adapter;
  // A number below zero: not given.
  SamplingOptions sampling = {
      .temperature = -1, .top_p = -1, .top_k = -1, .min_p = -1, .repetition_penalty = -1, .stop = {}};
  int64_t threads = 0;
  std::string precision = "fp32";
  std::string quant = "auto";
  std::string kv_cache = "auto";
  std::string memory;

  // What was given, else as the model's generation_config.json says and as transformers reads it, else greedy. Notes on
  // stderr what came from the file.
  SamplingOptions resolved(const GenerationConfig& defaults) const;
  GeneratorOptions generator() const;  // caller Error for a word that is none
};

std::vector<Argument> generation_arguments(GenerationOptions& options);

Json generate_json(const GenerateReport& report);

}  // namespace plimsoll::cli
