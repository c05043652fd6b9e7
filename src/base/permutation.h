// A shuffle that is computed, not stored: position → item of a seeded order of 0 … size - 1.
#pragma once

#include <array>
#include <cstdint>

namespace plimsoll {

// The generalised Feistel network of Black and Rogaway 2002 ("Ciphers with Arbitrary Finite Domains") over pairs (l, r)
// of numbers below a and b, a·b being a little above `size`; results that are out of range go through it again. Takes
// no memory; the same (size, seed, stream) give the same order everywhere.
class Permutation {
 public:
  Permutation(uint64_t size, uint64_t seed, uint64_t stream);

  uint64_t at(uint64_t position) const;  // position < size

 private:
  static constexpr int kRounds = 8;

  uint64_t once(uint64_t value) const;

  uint64_t size_, left_, right_;
  std::array<uint64_t, kRounds> keys_{};
};

}  // namespace plimsoll
