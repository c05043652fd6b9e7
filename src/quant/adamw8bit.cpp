#include "quant/adamw8bit.h"

#include <cmath>

namespace plimsoll {

AdamW8bitRates adamw8bit_rates(const AdamW8bitStep& step) {
  const auto t = static_cast<double>(step.step);
  const double bias1 = 1.0 - std::pow(step.beta1, t), bias2 = std::sqrt(1.0 - std::pow(step.beta2, t));
  return {static_cast<float>(step.beta1),
          static_cast<float>(1.0 - step.beta1),
          static_cast<float>(step.beta2),
          static_cast<float>(1.0 - step.beta2),
          static_cast<float>(1.0 - step.learning_rate * step.weight_decay),
          static_cast<float>(-step.learning_rate / bias1),
          static_cast<float>(bias2),
          static_cast<float>(step.epsilon),
          step.gradient_scale};
}

}  // namespace plimsoll
