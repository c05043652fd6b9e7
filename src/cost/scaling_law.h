// Compute-optimal training: how large a model and how many tokens for a budget of flops, and what training a smaller
// model for longer changes.
#pragma once

#include <array>
#include <string_view>

namespace plimsoll {

// loss(N, D) = E + A / N^alpha + B / D^beta for N parameters and D tokens.
struct LossFit {
  std::string_view name, source;
  double e, a, b, alpha, beta;
};

// Hoffmann et al. 2022 as published, and the correction of its third method by Besiroglu et al. 2024, which is the
// default: the published parameters don't follow from the published data.
inline constexpr std::array<LossFit, 2> kLossFits = {
    {{"chinchilla-2024", "Besiroglu et al. 2024, arXiv:2404.10102", 1.8172, 482.01, 2085.43, 0.3478, 0.3658},
     {"chinchilla-2022", "Hoffmann et al. 2022, arXiv:2203.15556, approach 3", 1.69, 406.4, 410.7, 0.34, 0.28}}};

double predicted_loss(const LossFit& fit, double parameters, double tokens);

struct TrainingSize {
  double parameters = 0, tokens = 0, flops = 0, loss = 0;  // flops = 6 · parameters · tokens
};
TrainingSize compute_optimal(const LossFit& fit, double flops);

// The same loss with fewer parameters and more tokens. tokens infinite where so small a model can't reach the loss.
TrainingSize over_trained(const LossFit& fit, const TrainingSize& optimal, double parameters);

// Tokens served after which the smaller model has cost fewer flops in all: training and 2 · parameters a token.
double break_even_tokens(const TrainingSize& optimal, const TrainingSize& smaller);

}  // namespace plimsoll
