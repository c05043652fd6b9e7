// A seeded sequence of random numbers, and shuffles and draws from it. Everything is stated, so that the same seed
// gives the same order with any compiler, library and thread count (std::shuffle and the std distributions promise
// nothing).
#pragma once

#include <cstdint>
#include <span>
#include <utility>

namespace plimsoll {

// xoshiro256** 1.0 (Blackman and Vigna 2018, arXiv:1805.01407), its state filled by SplitMix64 from (seed, stream):
// streams of one seed are independent of each other.
class Random {
 public:
  explicit Random(uint64_t seed, uint64_t stream = 0);

  uint64_t next();                 // 64 uniform bits
  uint64_t below(uint64_t bound);  // uniform in [0, bound), without bias (Lemire 2019, arXiv:1805.10941). bound > 0
  double uniform();                // [0, 1), 53 bits

 private:
  uint64_t state_[4];
};

// Fisher-Yates from the back.
template <typename T>
void shuffle(std::span<T> items, Random& random) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random.below(i)]);
}

}  // namespace plimsoll
