// The next token out of logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "train/generate.h"

namespace plimsoll {

// Temperature, then top-k, then top-p (Holtzman et al. 2020, arXiv:1904.09751), in the order of transformers.
// Temperature 0 takes the largest logit, the first of equals.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options), random_(static_cast<uint64_t>(options.seed)) {}
  int32_t next(std::span<const float> logits);

 private:
  SamplingOptions options_;
  Random random_;
  std::vector<int32_t> order_;
  std::vector<double> probability_;
};

}  // namespace plimsoll
