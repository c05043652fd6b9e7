// Value and slope of each activation on a vector of f32. Compiled once per Highway target.
#if defined(PLIMSOLL_ACTIVATION_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PLIMSOLL_ACTIVATION_SIMD_INL_H_
#undef PLIMSOLL_ACTIVATION_SIMD_INL_H_
#else
#define PLIMSOLL_ACTIVATION_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <type_traits>

#include "backend/cpu/rows/activation.h"
// math-inl follows Highway's own toggle.
#include <hwy/contrib/math/math-inl.h>

#include "backend/cpu/simd/elementwise_simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

struct Activated {
  VecF value, slope;
};

struct Sigmoid {
  VecF value, complement;  // σ(x) and 1 - σ(x), each to its own relative precision
};

// A division costs more than all the rest: an estimate and one Newton step instead (2^-22). The clamp keeps it finite;
// sigmoid(-80) is below what f32 can add to anything.
HWY_INLINE Sigmoid sigmoid(VecF x) {
  const Floats d;
  const auto decay = hn::Exp(d, hn::Min(hn::Neg(x), hn::Set(d, 80.0F)));
  const auto divisor = hn::Add(hn::Set(d, 1.0F), decay);
  const auto estimate = hn::ApproximateReciprocal(divisor);
  const auto value = hn::Mul(estimate, hn::NegMulAdd(divisor, estimate, hn::Set(d, 2.0F)));
  return {value, hn::Mul(decay, value)};
}

// x Φ(x) with Φ(-|x|) = ½ erfc(u) = ½ e^(-u²) t P(t), u = |x| / √2, t = 1 / (1 + u / 2): the form of Abramowitz and
// Stegun 7.1.26 with a polynomial of our own, fitted to a relative error of 2e-7 (in f32). The density of the slope
// shares the exponential.
HWY_INLINE Activated gelu_erf(VecF x) {
  const Floats d;
  const auto one = hn::Set(d, 1.0F);
  const auto u = hn::Mul(hn::Abs(x), hn::Set(d, 0.7071067811865476F));
  const auto t = hn::Div(one, hn::MulAdd(u, hn::Set(d, 0.5F), one));
  auto poly = hn::Set(d, -0.0588005707F);
  poly = hn::MulAdd(poly, t, hn::Set(d, 0.283259124F));
  poly = hn::MulAdd(poly, t, hn::Set(d, -0.484460175F));
  poly = hn::MulAdd(poly, t, hn::Set(d, 0.274912864F));
  poly = hn::MulAdd(poly, t, hn::Set(d, -0.0244367588F));
  poly = hn::MulAdd(poly, t, hn::Set(d, 0.201752797F));
  poly = hn::MulAdd(poly, t, hn::Set(d, 0.243342206F));
  poly = hn::MulAdd(poly, t, hn::Set(d, 0.282342136F));
  poly = hn::MulAdd(poly, t, hn::Set(d, 0.282088339F));
  const auto decay = hn::Exp(d, hn::Mul(hn::Set(d, -0.5F), hn::Mul(x, x)));
  const auto tail = hn::Mul(hn::Mul(hn::Set(d, 0.5F), decay), hn::Mul(t, poly));
  const auto phi = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail));
  return {hn::Mul(x, phi), hn::MulAdd(hn::Mul(x, hn::Set(d, 0.3989422804014327F)), decay, phi)};
}

template <ActivationKind act>
HWY_INLINE Activated activate(VecF x) {
  const Floats d;
  const auto one = hn::Set(d, 1.0F);
  const auto half = hn::Set(d, 0.5F);
  if constexpr (act == ActivationKind::silu) {
    const auto [s, rest] = sigmoid(x);
    return {hn::Mul(x, s), hn::Mul(s, hn::MulAdd(x, rest, one))};
  } else if constexpr (act == ActivationKind::quick_gelu) {
    const auto steepness = hn::Set(d, 1.702F);
    const auto [s, rest] = sigmoid(hn::Mul(steepness, x));
    return {hn::Mul(x, s), hn::Mul(s, hn::MulAdd(hn::Mul(steepness, x), rest, one))};
  } else if constexpr (act == ActivationKind::gelu_tanh) {
    const auto c = hn::Set(d, 0.7978845608028654F);  // sqrt(2/pi)
    const auto k = hn::Set(d, 0.044715F);
    const auto x2 = hn::Mul(x, x);
    const auto t = hn::Tanh(d, hn::Mul(c, hn::MulAdd(hn::Mul(k, x2), x, x)));
    const auto inner = hn::Mul(c, hn::MulAdd(hn::Set(d, 3 * 0.044715F), x2, one));
    const auto phi = hn::Mul(half, hn::Add(one, t));
    return {hn::Mul(x, phi), hn::MulAdd(hn::Mul(hn::Mul(half, x), hn::NegMulAdd(t, t, one)), inner, phi)};
  } else if constexpr (act == ActivationKind::gelu_erf) {
    return gelu_erf(x);
  } else {
    const auto positive = hn::Gt(x, hn::Zero(d));
    if constexpr (act == ActivationKind::relu)
      return {hn::IfThenElseZero(positive, x), hn::IfThenElseZero(positive, one)};
    const auto y = hn::IfThenElseZero(positive, x);
    return {hn::Mul(y, y), hn::Add(y, y)};
  }
}

// Calls body(std::integral_constant) for the kind, so that the loop inside knows it.
template <typename Body>
HWY_INLINE void with_activation(ActivationKind act, Body&& body) {
  switch (act) {
    case ActivationKind::silu:
      return body(std::integral_constant<ActivationKind, ActivationKind::silu>());
    case ActivationKind::gelu_tanh:
      return body(std::integral_constant<ActivationKind, ActivationKind::gelu_tanh>());
    case ActivationKind::gelu_erf:
      return body(std::integral_constant<ActivationKind, ActivationKind::gelu_erf>());
    case ActivationKind::relu:
      return body(std::integral_constant<ActivationKind, ActivationKind::relu>());
    case ActivationKind::quick_gelu:
      return body(std::integral_constant<ActivationKind, ActivationKind::quick_gelu>());
    case ActivationKind::relu_squared:
      return body(std::integral_constant<ActivationKind, ActivationKind::relu_squared>());
  }
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
