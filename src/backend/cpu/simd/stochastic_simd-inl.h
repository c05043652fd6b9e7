// Stochastic rounding to bf16 in vector code: random bits are a hash of a key and a place, so any thread can round any
// part and a resumed run draws the same bits. Include after elementwise_simd-inl.h, once per target.
#if defined(PLIMSOLL_STOCHASTIC_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PLIMSOLL_STOCHASTIC_SIMD_INL_H_
#undef PLIMSOLL_STOCHASTIC_SIMD_INL_H_
#else
#define PLIMSOLL_STOCHASTIC_SIMD_INL_H_
#endif

#include "backend/cpu/simd/elementwise_simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

using VecU = hn::Vec<hn::RebindToUnsigned<Floats>>;

// bits_at (base/counter_random.h) of the places first, first + 1, …
HWY_INLINE VecU random_bits(uint32_t key, uint32_t first) {
  const hn::RebindToUnsigned<Floats> d;
  auto x = hn::Add(hn::Mul(hn::Iota(d, first), hn::Set(d, 0x9e3779b1U)), hn::Set(d, key));
  x = hn::Xor(x, hn::ShiftRight<16>(x));
  x = hn::Mul(x, hn::Set(d, 0x85ebca6bU));
  x = hn::Xor(x, hn::ShiftRight<13>(x));
  x = hn::Mul(x, hn::Set(d, 0xc2b2ae35U));
  return hn::Xor(x, hn::ShiftRight<16>(x));
}

// v as it is for f32 memory; for bf16 one of its two neighbours there, drawn by the lower 16 bits of `random`.
template <typename T>
HWY_INLINE VecF drawn_for(VecF v, VecU random) {
  if constexpr (sizeof(T) == 4) {
    return v;
  } else {
    const hn::RebindToUnsigned<Floats> d;
    const auto raised = hn::Add(hn::BitCast(d, v), hn::And(random, hn::Set(d, 0xffffU)));
    const auto drawn = hn::BitCast(Floats(), hn::And(raised, hn::Set(d, 0xffff0000U)));
    return hn::IfThenElse(hn::IsFinite(v), drawn, v);
  }
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
