// Hash functions of the tokenizer's tables. Seeded once per process, so that no file can be made to collide.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace plimsoll::tokenizer {

inline uint64_t mix(uint64_t x, uint64_t y) {
  const auto product = static_cast<unsigned __int128>(x) * y;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline const uint64_t kHashSeed = [] {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}();

inline uint64_t hash_bytes(std::string_view bytes) {
  constexpr uint64_t kOdd1 = 0x9e3779b97f4a7c15, kOdd2 = 0xd6e8feb86659fd93;
  uint64_t hash = kHashSeed ^ (bytes.size() * kOdd1);
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    hash = mix(hash ^ word, kOdd2);
  }
  uint64_t word = 0;
  if (left != 0) std::memcpy(&word, at, left);
  return mix(hash ^ word, kOdd1);
}

inline uint64_t hash_pair(uint64_t pair) { return mix(pair ^ kHashSeed, 0x9e3779b97f4a7c15); }

// Maps a hash to [0, slots) without a division; any number of slots will do.
inline uint64_t slot_of(uint64_t hash, uint64_t slots) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(hash) * slots) >> 64);
}

}  // namespace plimsoll::tokenizer
