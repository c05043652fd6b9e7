#include "base/permutation.h"

#include <cmath>

#include "base/error.h"
#include "base/random.h"

namespace plimsoll {
namespace {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

Permutation::Permutation(uint64_t size, uint64_t seed, uint64_t stream) : size_(size) {
  PLIMSOLL_CHECK(size > 0 && size <= (uint64_t{1} << 48), "a permutation of so many items");
  left_ = static_cast<uint64_t>(std::sqrt(static_cast<double>(size)));
  while (left_ * left_ < size) ++left_;
  right_ = (size + left_ - 1) / left_;
  Random random(seed, stream);
  for (uint64_t& key : keys_) key = random.next();
}

uint64_t Permutation::once(uint64_t value) const {
  uint64_t l = value % left_, r = value / left_;
  for (size_t j = 0; j < keys_.size(); ++j) {
    const uint64_t modulus = j % 2 == 0 ? left_ : right_;
    const uint64_t next = (l + mix(r + keys_[j]) % modulus) % modulus;
    l = r;
    r = next;
  }
  return left_ * r + l;
}

uint64_t Permutation::at(uint64_t position) const {
  PLIMSOLL_CHECK(position < size_, "a position behind the end of the order");
  do position = once(position);
  while (position >= size_);
  return position;
}

}  // namespace plimsoll
