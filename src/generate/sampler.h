// The next token out of logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "generate/generator.h"

namespace plimsoll {

// In the order and with the meaning of transformers' processors:
//   repetition penalty  the score of each token that was there before is divided by it, or multiplied where it is
//                       negative (Keskar et al. 2019, arXiv:1909.05858); greedy choices feel it, too
//   temperature         divides the scores
//   top-k               the k likeliest, and those as likely as the last of them
//   top-p               of these the likeliest whose probabilities reach p together, the one that reaches it included
//                       (Holtzman et al. 2020, arXiv:1904.09751)
//   min-p               of these the ones with at least p times the highest probability (Nguyen et al. 2024,
//                       arXiv:2407.01082)
// Temperature 0 takes the largest score, the first of equals.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options), random_(static_cast<uint64_t>(options.seed)) {}

  // `previous`: the prompt and what was generated.
  int32_t next(std::span<const float> logits, std::span<const int32_t> previous);

  struct Candidate {
    int32_t id;
    double probability;
  };
  // What next() draws from, the likeliest first; the probabilities sum to 1. Valid until the next call.
  std::span<const Candidate> candidates(std::span<const float> logits, std::span<const int32_t> previous);

 private:
  std::span<const float> scores(std::span<const float> logits, std::span<const int32_t> previous);

  SamplingOptions options_;
  Random random_;
  std::vector<float> scores_;
  std::vector<bool> seen_;
  std::vector<int32_t> order_;
  std::vector<Candidate> candidates_;
};

}  // namespace plimsoll
