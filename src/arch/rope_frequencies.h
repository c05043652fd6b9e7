// Rotary frequencies of a model: what each published context extension makes of theta^(-2i/d).
#pragma once

#include <cstdint>
#include <vector>

#include "config/model_config.h"

namespace plimsoll {

struct RopeFrequencies {
  std::vector<float> inv_freq;     // (rotary_dim / 2) radians per position
  double attention_scaling = 1.0;  // multiplies cos and sin
};

// `rotary_dim`: how many of head_dim's values rotate. `sequence_length`: the longest sequence of the run; dynamic and
// longrope depend on it. Follows transformers' modeling_rope_utils; papers: linear arXiv:2306.15595, YaRN
// arXiv:2309.00071, LongRoPE arXiv:2402.13753; llama3: Llama 3.1's published scaling.
RopeFrequencies rope_frequencies(const RopeConfig& rope, int64_t rotary_dim, int64_t context_length,
                                 int64_t sequence_length);

}  // namespace plimsoll
