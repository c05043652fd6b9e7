// Vector helpers shared by the kernels: f32 lanes loaded from and stored to f32 or bf16 memory, with tails.
// Compiled once per target (Highway's foreach_target); bf16 memory is uint16_t bit patterns.
#if defined(PLIMSOLL_ELEMENTWISE_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PLIMSOLL_ELEMENTWISE_SIMD_INL_H_
#undef PLIMSOLL_ELEMENTWISE_SIMD_INL_H_
#else
#define PLIMSOLL_ELEMENTWISE_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using VecF = hn::Vec<Floats>;
inline constexpr size_t kMaxLanes = HWY_MAX_BYTES / sizeof(float);

HWY_INLINE VecF load(const float* from) { return hn::LoadU(Floats(), from); }
HWY_INLINE VecF load(const uint16_t* from) {
  const Floats d;
  const hn::Rebind<uint16_t, Floats> d16;
  const hn::RebindToUnsigned<Floats> d32;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, from))));
}

// The bf16 bits of each lane, rounded to nearest even; NaN stays NaN.
HWY_INLINE hn::Vec<hn::RebindToUnsigned<Floats>> bf16_bits(VecF v) {
  const hn::RebindToUnsigned<Floats> d32;
  const auto bits = hn::BitCast(d32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(d32, 0x7fff))));
  const auto quiet = hn::Or(hn::ShiftRight<16>(bits), hn::Set(d32, 0x40));
  return hn::IfThenElse(hn::RebindMask(d32, hn::IsNaN(v)), quiet, rounded);
}

HWY_INLINE void store(VecF v, float* to) { hn::StoreU(v, Floats(), to); }
HWY_INLINE void store(VecF v, uint16_t* to) {
  const hn::Rebind<uint16_t, Floats> d16;
  hn::StoreU(hn::TruncateTo(d16, bf16_bits(v)), d16, to);
}

// The first `count` lanes (count < lanes); the others read as zero.
template <typename T>
HWY_INLINE VecF load_some(const T* from, size_t count) {
  T buffer[kMaxLanes] = {};
  std::memcpy(buffer, from, count * sizeof(T));
  return load(buffer);
}
template <typename T>
HWY_INLINE void store_some(VecF v, T* to, size_t count) {
  T buffer[kMaxLanes];
  store(v, buffer);
  std::memcpy(to, buffer, count * sizeof(T));
}

// What a value becomes by being stored as T and read again.
template <typename T>
HWY_INLINE VecF rounded_to(VecF v) {
  if constexpr (sizeof(T) == 4) {
    return v;
  } else {
    return hn::BitCast(Floats(), hn::ShiftLeft<16>(bf16_bits(v)));
  }
}

HWY_INLINE float sum_of_lanes(VecF v) { return hn::GetLane(hn::SumOfLanes(Floats(), v)); }

// Calls body(index, Whole or Part) over [0, n) a vector at a time. `lanes` of the access object is full but for the
// last.
struct Whole {
  template <typename T>
  static HWY_INLINE VecF get(const T* from) {
    return load(from);
  }
  template <typename T>
  static HWY_INLINE void put(VecF v, T* to) {
    store(v, to);
  }
};
struct Part {
  size_t count;
  template <typename T>
  HWY_INLINE VecF get(const T* from) const {
    return load_some(from, count);
  }
  template <typename T>
  HWY_INLINE void put(VecF v, T* to) const {
    store_some(v, to, count);
  }
};
template <typename Body>
HWY_INLINE void for_vectors(int64_t n, Body&& body) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(i, Whole{});
  if (i < n) body(i, Part{static_cast<size_t>(n - i)});
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
