#include "quant/bnb/adamw8bit.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "quant/bnb/int8_blockwise.h"

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

void adamw8bit_values(const AdamW8bitRates& r, float* parameters, const float* gradients, int64_t n, float* first,
                      float* second) {
  for (int64_t i = 0; i < n; ++i) {
    const float gradient = gradients[i] * r.gradient_scale;
    first[i] = first[i] * r.beta1 + r.rest1 * gradient;
    second[i] = second[i] * r.beta2 + r.rest2 * gradient * gradient;
    parameters[i] = parameters[i] * r.decay + r.rate * (first[i] / (std::sqrt(second[i]) / r.correction + r.epsilon));
  }
}

void adamw8bit_update(const AdamW8bitStep& step, float* parameters, const float* gradients, int64_t n,
                      const AdamW8bitState& state) {
  const CodeTable &signed_table = dynamic_table(true), &unsigned_table = dynamic_table(false);
  const AdamW8bitRates rates = adamw8bit_rates(step);
  std::array<float, kAdamW8bitBlock> m, v;
  for (int64_t first = 0; first < n; first += kAdamW8bitBlock) {
    const int64_t count = std::min(kAdamW8bitBlock, n - first), block = first / kAdamW8bitBlock;
    uint8_t *codes1 = state.first + first, *codes2 = state.second + first;
    float *absmax1 = state.first_absmax + block, *absmax2 = state.second_absmax + block;
    dequantize_blockwise(signed_table, codes1, absmax1, count, kAdamW8bitBlock, m.data());
    dequantize_blockwise(unsigned_table, codes2, absmax2, count, kAdamW8bitBlock, v.data());
    adamw8bit_values(rates, parameters + first, gradients + first, count, m.data(), v.data());
    quantize_blockwise(signed_table, m.data(), count, kAdamW8bitBlock, codes1, absmax1);
    quantize_blockwise(unsigned_table, v.data(), count, kAdamW8bitBlock, codes2, absmax2);
  }
}

}  // namespace plimsoll
