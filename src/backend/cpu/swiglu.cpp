#include "backend/cpu/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/swiglu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/elementwise_simd-inl.h"
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#include <algorithm>
#include <cmath>

#include "backend/cpu/swiglu.h"
#include "base/bytes.h"
#include "base/error.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

struct Activated {
  VecF value, slope;
};

template <GatedActivation act>
HWY_INLINE Activated activate(VecF x) {
  const Floats d;
  const auto one = hn::Set(d, 1.0F);
  const auto half = hn::Set(d, 0.5F);
  if constexpr (act == GatedActivation::silu) {
    // A division costs more than all the rest: an estimate and one Newton step instead (2^-22). The clamp keeps it
    // finite; sigmoid(-80) is below what f32 can add to anything.
    const auto divisor = hn::Add(one, hn::Exp(d, hn::Min(hn::Neg(x), hn::Set(d, 80.0F))));
    const auto estimate = hn::ApproximateReciprocal(divisor);
    const auto sigmoid = hn::Mul(estimate, hn::NegMulAdd(divisor, estimate, hn::Set(d, 2.0F)));
    return {hn::Mul(x, sigmoid), hn::Mul(sigmoid, hn::MulAdd(x, hn::Sub(one, sigmoid), one))};
  } else if constexpr (act == GatedActivation::gelu_tanh) {
    const auto c = hn::Set(d, 0.7978845608028654F);  // sqrt(2/pi)
    const auto k = hn::Set(d, 0.044715F);
    const auto x2 = hn::Mul(x, x);
    const auto t = hn::Tanh(d, hn::Mul(c, hn::MulAdd(hn::Mul(k, x2), x, x)));
    const auto inner = hn::Mul(c, hn::MulAdd(hn::Set(d, 3 * 0.044715F), x2, one));
    const auto phi = hn::Mul(half, hn::Add(one, t));
    return {hn::Mul(x, phi), hn::MulAdd(hn::Mul(hn::Mul(half, x), hn::NegMulAdd(t, t, one)), inner, phi)};
  } else {
    // erf has no vector form in Highway; models with this activation are few.
    HWY_ALIGN float lanes[kMaxLanes];
    hn::Store(hn::Mul(x, hn::Set(d, 0.7071067811865476F)), d, lanes);
    for (size_t i = 0; i < hn::Lanes(d); ++i) lanes[i] = std::erf(lanes[i]);
    const auto phi = hn::Mul(half, hn::Add(one, hn::Load(d, lanes)));
    const auto density = hn::Mul(hn::Set(d, 0.3989422804014327F), hn::Exp(d, hn::Mul(hn::Neg(half), hn::Mul(x, x))));
    return {hn::Mul(x, phi), hn::MulAdd(x, density, phi)};
  }
}

template <GatedActivation act, typename T>
HWY_INLINE void forward_span(const T* gate, const T* up, T* out, int64_t n) {
  for_vectors(n, [&](int64_t i, auto lane) {
    // The activation is rounded to the activation type first, as the reference computes it in two steps.
    lane.put(hn::Mul(rounded_to<T>(activate<act>(lane.get(gate + i)).value), lane.get(up + i)), out + i);
  });
}

template <GatedActivation act, typename T>
HWY_INLINE void backward_span(const T* d_out, const T* gate, const T* up, T* d_gate, T* d_up, T* out, int64_t n) {
  for_vectors(n, [&](int64_t i, auto lane) {
    const auto g = lane.get(d_out + i);
    const auto u = lane.get(up + i);
    const auto a = activate<act>(lane.get(gate + i));
    const auto value = rounded_to<T>(a.value);
    lane.put(hn::Mul(hn::Mul(g, u), a.slope), d_gate + i);
    lane.put(hn::Mul(g, value), d_up + i);
    if (out != nullptr) lane.put(hn::Mul(value, u), out + i);
  });
}

template <typename T>
HWY_INLINE void forward_any(GatedActivation act, const T* gate, const T* up, T* out, int64_t n) {
  if (act == GatedActivation::silu) forward_span<GatedActivation::silu>(gate, up, out, n);
  else if (act == GatedActivation::gelu_tanh) forward_span<GatedActivation::gelu_tanh>(gate, up, out, n);
  else forward_span<GatedActivation::gelu_erf>(gate, up, out, n);
}
template <typename T>
HWY_INLINE void backward_any(GatedActivation act, const T* d_out, const T* gate, const T* up, T* d_gate, T* d_up,
                             T* out, int64_t n) {
  if (act == GatedActivation::silu) backward_span<GatedActivation::silu>(d_out, gate, up, d_gate, d_up, out, n);
  else if (act == GatedActivation::gelu_tanh)
    backward_span<GatedActivation::gelu_tanh>(d_out, gate, up, d_gate, d_up, out, n);
  else backward_span<GatedActivation::gelu_erf>(d_out, gate, up, d_gate, d_up, out, n);
}

void swiglu_forward_f32(GatedActivation act, const float* gate, const float* up, float* out, int64_t n) {
  forward_any(act, gate, up, out, n);
}
void swiglu_forward_bf16(GatedActivation act, const uint16_t* gate, const uint16_t* up, uint16_t* out, int64_t n) {
  forward_any(act, gate, up, out, n);
}
void swiglu_backward_f32(GatedActivation act, const float* d_out, const float* gate, const float* up, float* d_gate,
                         float* d_up, float* out, int64_t n) {
  backward_any(act, d_out, gate, up, d_gate, d_up, out, n);
}
void swiglu_backward_bf16(GatedActivation act, const uint16_t* d_out, const uint16_t* gate, const uint16_t* up,
                          uint16_t* d_gate, uint16_t* d_up, uint16_t* out, int64_t n) {
  backward_any(act, d_out, gate, up, d_gate, d_up, out, n);
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(swiglu_forward_f32);
HWY_EXPORT(swiglu_forward_bf16);
HWY_EXPORT(swiglu_backward_f32);
HWY_EXPORT(swiglu_backward_bf16);

namespace {
constexpr int64_t kTileElements = 1 << 14;

template <typename T>
const T* at(const void* p, int64_t i) {
  return static_cast<const T*>(p) + i;
}
template <typename T>
T* at(void* p, int64_t i) {
  return p == nullptr ? nullptr : static_cast<T*>(p) + i;
}
}  // namespace

void swiglu_forward(ThreadPool& pool, GatedActivation act, DType dtype, int64_t n, const void* gate, const void* up,
                    void* out) {
  PLIMSOLL_CHECK(dtype == DType::f32 || dtype == DType::bf16, "activations are f32 or bf16");
  pool.parallel_for(ceil_div(n, kTileElements), [&](int64_t tile, int) {
    const int64_t i = tile * kTileElements;
    const int64_t count = std::min(kTileElements, n - i);
    if (dtype == DType::f32)
      HWY_DYNAMIC_DISPATCH(swiglu_forward_f32)(act, at<float>(gate, i), at<float>(up, i), at<float>(out, i), count);
    else HWY_DYNAMIC_DISPATCH(swiglu_forward_bf16)
    (act, at<uint16_t>(gate, i), at<uint16_t>(up, i), at<uint16_t>(out, i), count);
  });
}

void swiglu_backward(ThreadPool& pool, GatedActivation act, DType dtype, int64_t n, const void* d_out, const void* gate,
                     const void* up, void* d_gate, void* d_up, void* out) {
  PLIMSOLL_CHECK(dtype == DType::f32 || dtype == DType::bf16, "activations are f32 or bf16");
  PLIMSOLL_CHECK(d_gate != d_up, "the two gradients need two buffers");
  pool.parallel_for(ceil_div(n, kTileElements), [&](int64_t tile, int) {
    const int64_t i = tile * kTileElements;
    const int64_t count = std::min(kTileElements, n - i);
    if (dtype == DType::f32) HWY_DYNAMIC_DISPATCH(swiglu_backward_f32)
    (act, at<float>(d_out, i), at<float>(gate, i), at<float>(up, i), at<float>(d_gate, i), at<float>(d_up, i),
     at<float>(out, i), count);
    else HWY_DYNAMIC_DISPATCH(swiglu_backward_bf16)(act, at<uint16_t>(d_out, i), at<uint16_t>(gate, i),
                                                    at<uint16_t>(up, i), at<uint16_t>(d_gate, i), at<uint16_t>(d_up, i),
                                                    at<uint16_t>(out, i), count);
  });
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
