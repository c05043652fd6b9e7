// AdamW with 8-bit state: both moments are codes of blocks of 256 (quant/bnb/int8_blockwise.h), the first with the
// signed and the second with the unsigned table. Dettmers et al. 2021, arXiv:2110.02861; the order of operations is
// that of bitsandbytes on the CPU:
//   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g²
//   p *= 1 - lr decay,   p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
// The update uses m and v before they are coded again.
#pragma once

#include <cstdint>

namespace plimsoll {

struct AdamW8bitStep {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  int64_t step = 1;          // t, from 1 on
  float gradient_scale = 1;  // multiplies the gradient
};

inline constexpr int64_t kAdamW8bitBlock = 256;

// All zero bytes and absmax 0 is the state before the first step: it restores to 0.
struct AdamW8bitState {
  uint8_t* first = nullptr;  // n
  uint8_t* second = nullptr;
  float* first_absmax = nullptr;  // blocks of 256
  float* second_absmax = nullptr;
};

// What a step computes with, rounded to float once.
struct AdamW8bitRates {
  float beta1, rest1, beta2, rest2, decay, rate, correction, epsilon, gradient_scale;
};
AdamW8bitRates adamw8bit_rates(const AdamW8bitStep& step);

// The update of n values by moments that are not coded. The definition, as adamw8bit_update is: what runs is the vector
// code of backend/cpu/optimizer/optimizer_8bit.cpp, and the golden steps are held against both.
void adamw8bit_values(const AdamW8bitRates& rates, float* parameters, const float* gradients, int64_t n, float* first,
                      float* second);

// n values, their gradients and state. To share work among threads, cut at multiples of 256. Allocates nothing.
void adamw8bit_update(const AdamW8bitStep& step, float* parameters, const float* gradients, int64_t n,
                      const AdamW8bitState& state);

}  // namespace plimsoll
