#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rows/swiglu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
#include "backend/cpu/rows/activation_simd-inl.h"
// clang-format on

#include <algorithm>
#include <type_traits>

#include "backend/cpu/rows/element_at.h"
#include "backend/cpu/rows/swiglu.h"
#include "base/bytes.h"
#include "base/error.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

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
  with_activation(act, [&](auto kind) { forward_span<kind()>(gate, up, out, n); });
}
template <typename T>
HWY_INLINE void backward_any(GatedActivation act, const T* d_out, const T* gate, const T* up, T* d_gate, T* d_up,
                             T* out, int64_t n) {
  with_activation(act, [&](auto kind) { backward_span<kind()>(d_out, gate, up, d_gate, d_up, out, n); });
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

}  // namespace

void swiglu_forward(ThreadPool& pool, GatedActivation act, DType dtype, int64_t n, const void* gate, const void* up,
                    void* out) {
  PLIMSOLL_CHECK(dtype == DType::f32 || dtype == DType::bf16, "activations are f32 or bf16");
  pool.parallel_for(ceil_div(n, kTileElements), [&](int64_t tile, int) {
    const int64_t i = tile * kTileElements;
    const int64_t count = std::min(kTileElements, n - i);
    if (dtype == DType::f32)
      return HWY_DYNAMIC_DISPATCH(swiglu_forward_f32)(act, element_at<float>(gate, i), element_at<float>(up, i),
                                                      element_at<float>(out, i), count);
    return HWY_DYNAMIC_DISPATCH(swiglu_forward_bf16)(act, element_at<uint16_t>(gate, i), element_at<uint16_t>(up, i),
                                                     element_at<uint16_t>(out, i), count);
  });
}

void swiglu_backward(ThreadPool& pool, GatedActivation act, DType dtype, int64_t n, const void* d_out, const void* gate,
                     const void* up, void* d_gate, void* d_up, void* out) {
  PLIMSOLL_CHECK(dtype == DType::f32 || dtype == DType::bf16, "activations are f32 or bf16");
  PLIMSOLL_CHECK(d_gate != d_up, "the two gradients need two buffers");
  pool.parallel_for(ceil_div(n, kTileElements), [&](int64_t tile, int) {
    const int64_t i = tile * kTileElements;
    const int64_t count = std::min(kTileElements, n - i);
    if (dtype == DType::f32)
      return HWY_DYNAMIC_DISPATCH(swiglu_backward_f32)(act, element_at<float>(d_out, i), element_at<float>(gate, i),
                                                       element_at<float>(up, i), element_at<float>(d_gate, i),
                                                       element_at<float>(d_up, i), element_at<float>(out, i), count);
    return HWY_DYNAMIC_DISPATCH(swiglu_backward_bf16)(
        act, element_at<uint16_t>(d_out, i), element_at<uint16_t>(gate, i), element_at<uint16_t>(up, i),
        element_at<uint16_t>(d_gate, i), element_at<uint16_t>(d_up, i), element_at<uint16_t>(out, i), count);
  });
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
