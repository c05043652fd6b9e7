// Random numbers by index instead of by state: the i-th number of a stream is a hash of (seed, stream, i), so that any
// thread can draw any part of a tensor and the result never depends on order.
#pragma once

#include <cstdint>

namespace plimsoll {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
inline uint64_t mix_bits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Uniform in [0, 1), 53 bits.
inline double uniform_at(uint64_t seed, uint64_t stream, uint64_t index) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15ULL;
  const uint64_t key = mix_bits(mix_bits(seed + kGolden) + (stream + 1) * kGolden);
  return static_cast<double>(mix_bits(key + (index + 1) * kGolden) >> 11) * 0x1p-53;
}

}  // namespace plimsoll
