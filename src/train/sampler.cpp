#include "train/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace plimsoll {

int32_t Sampler::next(std::span<const float> logits) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (options_.temperature == 0) return static_cast<int32_t>(largest - logits.begin());
  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), 0);
  const auto likelier = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)];
    const float y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  size_t kept = logits.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<size_t>(options_.top_k));
  if (kept < logits.size())
    std::nth_element(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(kept), order_.end(), likelier);
  std::sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(kept), likelier);

  probability_.resize(kept);
  double total = 0;
  for (size_t i = 0; i < kept; ++i) {
    probability_[i] =
        std::exp((static_cast<double>(logits[static_cast<size_t>(order_[i])]) - *largest) / options_.temperature);
    total += probability_[i];
  }
  // Keep tokens until their probability reaches top_p, the one that reaches it included.
  double kept_mass = 0;
  size_t candidates = 0;
  while (candidates < kept && (candidates == 0 || kept_mass < options_.top_p * total))
    kept_mass += probability_[candidates++];
  double point = random_.uniform() * kept_mass;
  for (size_t i = 0; i < candidates; ++i) {
    point -= probability_[i];
    if (point < 0) return order_[i];
  }
  return order_[candidates - 1];
}

}  // namespace plimsoll
