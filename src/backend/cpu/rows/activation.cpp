#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rows/activation.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/rows/activation_simd-inl.h"
// clang-format on

#include <algorithm>
#include <type_traits>

#include "backend/cpu/rows/activation.h"
#include "backend/cpu/rows/element_at.h"
#include "base/bytes.h"
#include "base/error.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

template <typename T>
HWY_INLINE void activate_span(ActivationKind act, const T* x, T* out, int64_t n) {
  with_activation(act, [&](auto kind) {
    for_vectors(n, [&](int64_t i, auto lane) { lane.put(activate<kind()>(lane.get(x + i)).value, out + i); });
  });
}

template <typename T>
HWY_INLINE void slope_span(ActivationKind act, const T* dy, const T* x, T* dx, int64_t n) {
  with_activation(act, [&](auto kind) {
    for_vectors(n, [&](int64_t i, auto lane) {
      lane.put(hn::Mul(lane.get(dy + i), activate<kind()>(lane.get(x + i)).slope), dx + i);
    });
  });
}

void activation_forward_f32(ActivationKind act, const float* x, float* out, int64_t n) {
  activate_span(act, x, out, n);
}
void activation_forward_bf16(ActivationKind act, const uint16_t* x, uint16_t* out, int64_t n) {
  activate_span(act, x, out, n);
}
void activation_backward_f32(ActivationKind act, const float* dy, const float* x, float* dx, int64_t n) {
  slope_span(act, dy, x, dx, n);
}
void activation_backward_bf16(ActivationKind act, const uint16_t* dy, const uint16_t* x, uint16_t* dx, int64_t n) {
  slope_span(act, dy, x, dx, n);
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(activation_forward_f32);
HWY_EXPORT(activation_forward_bf16);
HWY_EXPORT(activation_backward_f32);
HWY_EXPORT(activation_backward_bf16);

namespace {

constexpr int64_t kTileElements = 1 << 14;

template <typename Body>
void for_tiles(ThreadPool& pool, DType dtype, int64_t n, Body&& body) {
  PLIMSOLL_CHECK(dtype == DType::f32 || dtype == DType::bf16, "activations are f32 or bf16");
  pool.parallel_for(ceil_div(n, kTileElements), [&](int64_t tile, int) {
    const int64_t i = tile * kTileElements;
    body(i, std::min(kTileElements, n - i));
  });
}

}  // namespace

void activation_forward(ThreadPool& pool, ActivationKind act, DType dtype, int64_t n, const void* x, void* out) {
  for_tiles(pool, dtype, n, [&](int64_t i, int64_t count) {
    if (dtype == DType::f32)
      return HWY_DYNAMIC_DISPATCH(activation_forward_f32)(act, element_at<float>(x, i), element_at<float>(out, i),
                                                          count);
    return HWY_DYNAMIC_DISPATCH(activation_forward_bf16)(act, element_at<uint16_t>(x, i), element_at<uint16_t>(out, i),
                                                         count);
  });
}

void activation_backward(ThreadPool& pool, ActivationKind act, DType dtype, int64_t n, const void* dy, const void* x,
                         void* dx) {
  for_tiles(pool, dtype, n, [&](int64_t i, int64_t count) {
    if (dtype == DType::f32)
      return HWY_DYNAMIC_DISPATCH(activation_backward_f32)(act, element_at<float>(dy, i), element_at<float>(x, i),
                                                           element_at<float>(dx, i), count);
    return HWY_DYNAMIC_DISPATCH(activation_backward_bf16)(act, element_at<uint16_t>(dy, i), element_at<uint16_t>(x, i),
                                                          element_at<uint16_t>(dx, i), count);
  });
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
