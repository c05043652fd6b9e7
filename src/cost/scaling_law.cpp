#include "cost/scaling_law.h"

#include <cmath>
#include <limits>

namespace plimsoll {

double predicted_loss(const LossFit& fit, double parameters, double tokens) {
  return fit.e + fit.a / std::pow(parameters, fit.alpha) + fit.b / std::pow(tokens, fit.beta);
}

// Hoffmann et al., equation 4.
TrainingSize compute_optimal(const LossFit& fit, double flops) {
  const double g = std::pow(fit.alpha * fit.a / (fit.beta * fit.b), 1 / (fit.alpha + fit.beta));
  TrainingSize size;
  size.flops = flops;
  size.parameters = g * std::pow(flops / 6, fit.beta / (fit.alpha + fit.beta));
  size.tokens = flops / (6 * size.parameters);
  size.loss = predicted_loss(fit, size.parameters, size.tokens);
  return size;
}

TrainingSize over_trained(const LossFit& fit, const TrainingSize& optimal, double parameters) {
  TrainingSize size;
  size.parameters = parameters;
  size.loss = optimal.loss;
  const double left = optimal.loss - fit.e - fit.a / std::pow(parameters, fit.alpha);
  size.tokens = left > 0 ? std::pow(fit.b / left, 1 / fit.beta) : std::numeric_limits<double>::infinity();
  size.flops = 6 * size.parameters * size.tokens;
  return size;
}

double break_even_tokens(const TrainingSize& optimal, const TrainingSize& smaller) {
  if (smaller.parameters >= optimal.parameters) return std::numeric_limits<double>::infinity();
  return (smaller.flops - optimal.flops) / (2 * (optimal.parameters - smaller.parameters));
}

}  // namespace plimsoll
