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

// 64 bits.
inline uint64_t key_at(uint64_t seed, uint64_t stream, uint64_t index) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15ULL;
  const uint64_t key = mix_bits(mix_bits(seed + kGolden) + (stream + 1) * kGolden);
  return mix_bits(key + (index + 1) * kGolden);
}

// 32 bits for a place below 2³², from a 32-bit key: cheap enough for each element of a tensor, in vectors too. The
// finalizer of MurmurHash3 (Appleby).
inline uint32_t bits_at(uint32_t key, uint32_t place) {
  uint32_t x = place * 0x9e3779b1U + key;
  x = (x ^ (x >> 16)) * 0x85ebca6bU;
  x = (x ^ (x >> 13)) * 0xc2b2ae35U;
  return x ^ (x >> 16);
}

// Uniform in [0, 1), 53 bits.
inline double uniform_at(uint64_t seed, uint64_t stream, uint64_t index) {
  return static_cast<double>(key_at(seed, stream, index) >> 11) * 0x1p-53;
}

}  // namespace plimsoll
