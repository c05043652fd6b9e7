#include "base/random.h"

#include <bit>

#include "base/counter_random.h"

namespace plimsoll {

Random::Random(uint64_t seed, uint64_t stream) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15ULL;
  uint64_t counter = mix_bits(seed + kGolden) ^ mix_bits((stream + 1) * kGolden);
  for (uint64_t& word : state_) word = mix_bits(counter += kGolden);
}

uint64_t Random::next() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

uint64_t Random::below(uint64_t bound) {
  using Wide = unsigned __int128;
  Wide product = static_cast<Wide>(next()) * bound;
  if (static_cast<uint64_t>(product) < bound) {
    const uint64_t threshold = (0 - bound) % bound;
    while (static_cast<uint64_t>(product) < threshold) product = static_cast<Wide>(next()) * bound;
  }
  return static_cast<uint64_t>(product >> 64);
}

double Random::uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

}  // namespace plimsoll
