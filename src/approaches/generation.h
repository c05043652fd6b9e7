// Many answers generated at once by some devices that hold one copy of a model, for training by reinforcement and for
// the price of a call: waves of as many sequences as the cache holds, all of the same length.
#pragma once

#include "serve/serving_model.h"

namespace plimsoll {

struct GenerationQuestion {
  const ModelConfig* config = nullptr;
  ModelShape model;  // shape_of(*config)
  const Device* device = nullptr;
  TimeConstants constants;
  int64_t tensor = 1;  // devices of the copy
  int64_t sequences = 1;
  int64_t prompt_tokens = 512, answer_tokens = 256;
  double other_bytes = 0;          // that something else holds on each device
  bool weights_are_there = false;  // among these: no copy is made for generating
};

struct Generation {
  int64_t concurrent = 0;  // sequences at once; 0: not one fits
  double bytes = 0;        // of one device, `other_bytes` included
  double seconds = 0;      // for all sequences
};

Generation generation(const GenerationQuestion& question);

}  // namespace plimsoll
