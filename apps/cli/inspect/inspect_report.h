// What a model is, as numbers, and the two ways of printing it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "arch/architecture.h"
#include "cli/text/output.h"
#include "cli/text/terminal.h"
#include "config/model_config.h"

namespace plimsoll::cli {

struct ParameterCounts {  // tied tensors count once
  int64_t total = 0;
  int64_t active = 0;  // used by one token
  int64_t embedding = 0, attention = 0, mlp = 0, norm = 0, head = 0, other = 0;
};

struct TokenizerFacts {
  int64_t tokens = 0;
  std::string bos, eos;
  bool chat_template = false;
};

struct InspectReport {
  std::string source;
  ModelConfig config;
  ParameterCounts params;
  int64_t stored_bytes = 0;   // of the tensors in the files; of a bare config.json: in its own dtype; of a name: 0
  std::string stored_dtypes;  // "q4_1, f32"
  bool has_weights = false;
  bool from_catalog = false;  // then nothing is stored anywhere
  std::optional<TokenizerFacts> tokenizer;
};

ParameterCounts count_parameters(const std::vector<ParameterSpec>& parameters);

Json inspect_json(const InspectReport& report);
std::string inspect_text(const InspectReport& report, const Terminal& terminal);

}  // namespace plimsoll::cli
