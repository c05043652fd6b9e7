#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/mixture/mixture.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
// clang-format on

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/mixture/mixture.h"
#include "base/bytes.h"
#include "base/error.h"

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
HWY_EXPORT(combine_row);
HWY_EXPORT(uncombine_row);
HWY_EXPORT(sum_f32);
HWY_EXPORT(sum_bf16);

namespace {

constexpr int64_t kRowTile = 16;
constexpr int64_t kValueTile = 1 << 13;

int64_t element_bytes(DType dtype) {
  PLIMSOLL_CHECK(dtype == DType::f32 || dtype == DType::bf16, "activations are f32 or bf16");
  return dtype == DType::f32 ? 4 : 2;
}

template <typename Body>
void for_rows(ThreadPool& pool, int64_t rows, Body&& body) {
  pool.parallel_for(ceil_div(rows, kRowTile), [&](int64_t tile, int) {
    for (int64_t row = tile * kRowTile; row < std::min(rows, (tile + 1) * kRowTile); ++row) body(row);
  });
}

// Plain loops over pairs: one activation of one family, and exp is what costs.
float read(const void* p, DType dtype, int64_t i) {
  return dtype == DType::f32 ? static_cast<const float*>(p)[i] : bf16_to_f32(static_cast<const uint16_t*>(p)[i]);
}
void write(float value, DType dtype, void* p, int64_t i) {
  if (dtype == DType::f32) static_cast<float*>(p)[i] = value;
  else static_cast<uint16_t*>(p)[i] = f32_to_bf16(value);
}

template <typename Body>
void for_values(ThreadPool& pool, int64_t values, Body&& body) {
  pool.parallel_for(ceil_div(values, kValueTile), [&](int64_t tile, int) {
    for (int64_t i = tile * kValueTile; i < std::min(values, (tile + 1) * kValueTile); ++i) body(i);
  });
}

}  // namespace

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

void clamped_swiglu_forward(ThreadPool& pool, float alpha, float limit, DType dtype, int64_t values, const void* x,
                            void* y) {
  for_values(pool, values, [&](int64_t i) {
    const float gate = std::min(read(x, dtype, 2 * i), limit);
    const float up = std::clamp(read(x, dtype, 2 * i + 1), -limit, limit);
    write((up + 1.0F) * gate / (1.0F + std::exp(-alpha * gate)), dtype, y, i);
  });
}

void clamped_swiglu_backward(ThreadPool& pool, float alpha, float limit, DType dtype, int64_t values, const void* dy,
                             const void* x, void* dx) {
  for_values(pool, values, [&](int64_t i) {
    const float g = read(dy, dtype, i), raw_gate = read(x, dtype, 2 * i), raw_up = read(x, dtype, 2 * i + 1);
    const float gate = std::min(raw_gate, limit), up = std::clamp(raw_up, -limit, limit);
    const float sigmoid = 1.0F / (1.0F + std::exp(-alpha * gate));
    // As torch's clamp: the gradient passes at the bounds, not beyond them.
    const float d_gate =
        raw_gate <= limit ? g * (up + 1.0F) * sigmoid * (1.0F + alpha * gate * (1.0F - sigmoid)) : 0.0F;
    const float d_up = raw_up >= -limit && raw_up <= limit ? g * gate * sigmoid : 0.0F;
    write(d_gate, dtype, dx, 2 * i);
    write(d_up, dtype, dx, 2 * i + 1);
  });
}

void split_columns(ThreadPool& pool, DType dtype, int64_t rows, int64_t a_width, int64_t b_width, const void* x,
                   void* a, void* b) {
  const int64_t a_bytes = a_width * element_bytes(dtype), b_bytes = b_width * element_bytes(dtype);
  for_rows(pool, rows, [&](int64_t row) {
    const auto* const from = static_cast<const char*>(x) + row * (a_bytes + b_bytes);
    std::memcpy(static_cast<char*>(a) + row * a_bytes, from, static_cast<size_t>(a_bytes));
    std::memcpy(static_cast<char*>(b) + row * b_bytes, from + a_bytes, static_cast<size_t>(b_bytes));
  });
}

void join_columns(ThreadPool& pool, DType dtype, int64_t rows, int64_t a_width, int64_t b_width, const void* a,
                  const void* b, void* x) {
  const int64_t a_bytes = a_width * element_bytes(dtype), b_bytes = b_width * element_bytes(dtype);
  for_rows(pool, rows, [&](int64_t row) {
    auto* const to = static_cast<char*>(x) + row * (a_bytes + b_bytes);
    std::memcpy(to, static_cast<const char*>(a) + row * a_bytes, static_cast<size_t>(a_bytes));
    std::memcpy(to + a_bytes, static_cast<const char*>(b) + row * b_bytes, static_cast<size_t>(b_bytes));
  });
}

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
