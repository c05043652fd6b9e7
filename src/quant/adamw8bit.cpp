#include "quant/adamw8bit.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "quant/int8_blockwise.h"

namespace plimsoll {

void adamw8bit_update(const AdamW8bitStep& step, float* parameters, const float* gradients, int64_t n,
                      const AdamW8bitState& state) {
  const CodeTable &signed_table = dynamic_table(true), &unsigned_table = dynamic_table(false);
  const auto t = static_cast<double>(step.step);
  const double bias1 = 1.0 - std::pow(step.beta1, t), bias2 = std::sqrt(1.0 - std::pow(step.beta2, t));
  const auto beta1 = static_cast<float>(step.beta1), rest1 = static_cast<float>(1.0 - step.beta1);
  const auto beta2 = static_cast<float>(step.beta2), rest2 = static_cast<float>(1.0 - step.beta2);
  const auto decay = static_cast<float>(1.0 - step.learning_rate * step.weight_decay);
  const auto rate = static_cast<float>(-step.learning_rate / bias1), correction = static_cast<float>(bias2);
  const auto epsilon = static_cast<float>(step.epsilon);
  std::array<float, kAdamW8bitBlock> m, v;
  for (int64_t first = 0; first < n; first += kAdamW8bitBlock) {
    const int64_t count = std::min(kAdamW8bitBlock, n - first), block = first / kAdamW8bitBlock;
    uint8_t *codes1 = state.first + first, *codes2 = state.second + first;
    float *absmax1 = state.first_absmax + block, *absmax2 = state.second_absmax + block;
    dequantize_blockwise(signed_table, codes1, absmax1, count, kAdamW8bitBlock, m.data());
    dequantize_blockwise(unsigned_table, codes2, absmax2, count, kAdamW8bitBlock, v.data());
    const float* g = gradients + first;
    float* p = parameters + first;
    for (int64_t i = 0; i < count; ++i) {
      const auto k = static_cast<size_t>(i);
      m[k] = m[k] * beta1 + rest1 * g[i];
      v[k] = v[k] * beta2 + rest2 * g[i] * g[i];
      p[i] = p[i] * decay + rate * (m[k] / (std::sqrt(v[k]) / correction + epsilon));
    }
    quantize_blockwise(signed_table, m.data(), count, kAdamW8bitBlock, codes1, absmax1);
    quantize_blockwise(unsigned_table, v.data(), count, kAdamW8bitBlock, codes2, absmax2);
  }
}

}  // namespace plimsoll
