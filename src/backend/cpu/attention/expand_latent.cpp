#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention/expand_latent.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
// clang-format on

#include <cstring>

#include "backend/cpu/attention/expand_latent.h"
#include "backend/cpu/rows/for_rows.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

// to = the sum of `count` rows of n values, `stride` apart.
template <typename T>
HWY_INLINE void sum_span(const T* from, int64_t stride, int64_t count, int64_t n, T* to) {
  for_vectors(n, [&](int64_t i, auto lane) {
    auto sum = lane.get(from + i);
    for (int64_t j = 1; j < count; ++j) sum = hn::Add(sum, lane.get(from + j * stride + i));
    lane.put(sum, to + i);
  });
}
void sum_f32(const float* from, int64_t stride, int64_t count, int64_t n, float* to) {
  sum_span(from, stride, count, n, to);
}
void sum_bf16(const uint16_t* from, int64_t stride, int64_t count, int64_t n, uint16_t* to) {
  sum_span(from, stride, count, n, to);
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(sum_f32);
HWY_EXPORT(sum_bf16);

void expand_latent_forward(ThreadPool& pool, const LatentHeads& s, const void* kv, const void* k_rotary, void* k,
                           void* v) {
  const int64_t bytes = element_bytes(s.dtype);
  const auto copy = [](void* to, int64_t to_byte, const void* from, int64_t from_byte, int64_t size) {
    std::memcpy(static_cast<char*>(to) + to_byte, static_cast<const char*>(from) + from_byte,
                static_cast<size_t>(size));
  };
  const int64_t plain = s.plain * bytes, rotary = s.rotary * bytes, value = s.value * bytes;
  for_rows(pool, s.rows, [&](int64_t row) {
    for (int64_t head = row * s.heads; head < (row + 1) * s.heads; ++head) {
      copy(k, head * (plain + rotary), kv, head * (plain + value), plain);
      copy(k, head * (plain + rotary) + plain, k_rotary, row * rotary, rotary);
      copy(v, head * value, kv, head * (plain + value) + plain, value);
    }
  });
}

void expand_latent_backward(ThreadPool& pool, const LatentHeads& s, const void* dk, const void* dv, void* d_kv,
                            void* d_k_rotary) {
  const int64_t bytes = element_bytes(s.dtype);
  const int64_t plain = s.plain * bytes, rotary = s.rotary * bytes, value = s.value * bytes;
  for_rows(pool, s.rows, [&](int64_t row) {
    const auto* const keys = static_cast<const char*>(dk) + row * s.heads * (plain + rotary);
    for (int64_t head = 0; head < s.heads; ++head) {
      char* const to = static_cast<char*>(d_kv) + (row * s.heads + head) * (plain + value);
      std::memcpy(to, keys + head * (plain + rotary), static_cast<size_t>(plain));
      if (dv == nullptr) std::memset(to + plain, 0, static_cast<size_t>(value));
      else
        std::memcpy(to + plain, static_cast<const char*>(dv) + (row * s.heads + head) * value,
                    static_cast<size_t>(value));
    }
    const int64_t stride = s.plain + s.rotary;
    if (s.dtype == DType::f32) HWY_DYNAMIC_DISPATCH(sum_f32)
    (reinterpret_cast<const float*>(keys) + s.plain, stride, s.heads, s.rotary,
     static_cast<float*>(d_k_rotary) + row * s.rotary);
    else HWY_DYNAMIC_DISPATCH(sum_bf16)(reinterpret_cast<const uint16_t*>(keys) + s.plain, stride, s.heads, s.rotary,
                                        static_cast<uint16_t*>(d_k_rotary) + row * s.rotary);
  });
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
