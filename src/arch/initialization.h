// How a family draws the weights of a new model, as transformers 5 does before training.
#pragma once

#include <cstdint>

#include "arch/architecture.h"

namespace plimsoll {

struct Initialization {
  enum class Kind : uint8_t { normal, ones, zeros };
  Kind kind = Kind::normal;
  double deviation = 0;   // of normal, whose mean is 0
  int64_t zero_row = -1;  // of an embedding: the padding token's, which says nothing; -1: none
};

Initialization initialization_of(const ModelConfig& config, const ParameterSpec& parameter);

}  // namespace plimsoll
