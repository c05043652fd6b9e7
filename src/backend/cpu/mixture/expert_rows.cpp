#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/mixture/expert_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
// clang-format on

#include <cstring>

#include "backend/cpu/mixture/expert_rows.h"
#include "backend/cpu/rows/for_rows.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

template <typename T>
HWY_INLINE void combine_span(const ExpertRows& s, const T* sorted, const float* factors, const int32_t* slots,
                             bool accumulate, T* y) {
  for_vectors(s.width, [&](int64_t i, auto lane) {
    auto sum = accumulate ? lane.get(y + i) : hn::Zero(Floats());
    for (int64_t j = 0; j < s.top_k; ++j)
      sum = hn::MulAdd(hn::Set(Floats(), factors == nullptr ? 1.0F : factors[j]),
                       lane.get(sorted + slots[j] * s.width + i), sum);
    lane.put(sum, y + i);
  });
}
void combine_row(const ExpertRows& s, const void* sorted, const float* factors, const int32_t* slots, bool accumulate,
                 void* y, int64_t row) {
  const float* const f = factors == nullptr ? nullptr : factors + row * s.top_k;
  const int32_t* const at = slots + row * s.top_k;
  if (s.dtype == DType::f32)
    combine_span(s, static_cast<const float*>(sorted), f, at, accumulate, static_cast<float*>(y) + row * s.width);
  else
    combine_span(s, static_cast<const uint16_t*>(sorted), f, at, accumulate, static_cast<uint16_t*>(y) + row * s.width);
}

template <typename T>
HWY_INLINE float uncombine_span(int64_t n, const T* dy, const T* sorted, float factor, T* d_sorted) {
  auto sum = hn::Zero(Floats());
  const auto f = hn::Set(Floats(), factor);
  for_vectors(n, [&](int64_t i, auto lane) {
    const auto g = lane.get(dy + i);
    sum = hn::MulAdd(g, lane.get(sorted + i), sum);
    lane.put(hn::Mul(f, g), d_sorted + i);
  });
  return sum_of_lanes(sum);
}
void uncombine_row(const ExpertRows& s, const void* dy, const void* sorted, const float* factors, const int32_t* slots,
                   void* d_sorted, float* d_factors, int64_t row) {
  for (int64_t j = row * s.top_k; j < (row + 1) * s.top_k; ++j) {
    const int64_t from = row * s.width, at = slots[j] * s.width;
    d_factors[j] = s.dtype == DType::f32 ? uncombine_span(s.width, static_cast<const float*>(dy) + from,
                                                          static_cast<const float*>(sorted) + at, factors[j],
                                                          static_cast<float*>(d_sorted) + at)
                                         : uncombine_span(s.width, static_cast<const uint16_t*>(dy) + from,
                                                          static_cast<const uint16_t*>(sorted) + at, factors[j],
                                                          static_cast<uint16_t*>(d_sorted) + at);
  }
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(combine_row);
HWY_EXPORT(uncombine_row);

void expert_gather(ThreadPool& pool, const ExpertRows& s, const void* x, const int32_t* slots, void* sorted) {
  const int64_t bytes = s.width * element_bytes(s.dtype);
  for_rows(pool, s.rows, [&](int64_t row) {
    for (int64_t j = row * s.top_k; j < (row + 1) * s.top_k; ++j)
      std::memcpy(static_cast<char*>(sorted) + slots[j] * bytes, static_cast<const char*>(x) + row * bytes,
                  static_cast<size_t>(bytes));
  });
}

void expert_combine(ThreadPool& pool, const ExpertRows& s, const void* sorted, const float* factors,
                    const int32_t* slots, bool accumulate, void* y) {
  (void)element_bytes(s.dtype);
  for_rows(pool, s.rows, [&](int64_t row) {
    HWY_DYNAMIC_DISPATCH(combine_row)(s, sorted, factors, slots, accumulate, y, row);
  });
}

void expert_combine_backward(ThreadPool& pool, const ExpertRows& s, const void* dy, const void* sorted,
                             const float* factors, const int32_t* slots, void* d_sorted, float* d_factors) {
  (void)element_bytes(s.dtype);
  for_rows(pool, s.rows, [&](int64_t row) {
    HWY_DYNAMIC_DISPATCH(uncombine_row)(s, dy, sorted, factors, slots, d_sorted, d_factors, row);
  });
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
