#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rows/dora.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
#include "backend/cpu/simd/stochastic_simd-inl.h"
// clang-format on

#include <algorithm>
#include <array>
#include <cmath>

#include "backend/cpu/rows/dora.h"
#include "base/bytes.h"
#include "base/counter_random.h"
#include "base/error.h"
#include "quant/packed_matrix.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

template <typename T>
HWY_INLINE void widen(const T* from, float* to, int64_t n) {
  for_vectors(n, [&](int64_t i, auto lane) { lane.put(lane.get(from + i), to + i); });
}
template <typename T>
HWY_INLINE void add_scaled(float factor, const T* from, float* to, int64_t n) {
  const auto f = hn::Set(Floats(), factor);
  for_vectors(n, [&](int64_t i, auto lane) { lane.put(hn::MulAdd(f, lane.get(from + i), lane.get(to + i)), to + i); });
}

void widen_f32(const float* from, float* to, int64_t n) { widen(from, to, n); }
void widen_bf16(const uint16_t* from, float* to, int64_t n) { widen(from, to, n); }
void add_scaled_f32(float factor, const float* from, float* to, int64_t n) { add_scaled(factor, from, to, n); }
void add_scaled_bf16(float factor, const uint16_t* from, float* to, int64_t n) { add_scaled(factor, from, to, n); }

float squares_of(const float* values, int64_t n) {
  auto sum = hn::Zero(Floats());
  for_vectors(n, [&](int64_t i, auto lane) {
    const auto v = lane.get(values + i);
    sum = hn::MulAdd(v, v, sum);
  });
  return sum_of_lanes(sum);
}
void add_squares_of(const float* values, float* sums, int64_t n) {
  for_vectors(n, [&](int64_t i, auto lane) {
    const auto v = lane.get(values + i);
    lane.put(hn::MulAdd(v, v, lane.get(sums + i)), sums + i);
  });
}

template <typename T>
HWY_INLINE void scale_line(const T* z, const float* factors, const float* bias, T* y, int64_t n) {
  for_vectors(n, [&](int64_t i, auto lane) {
    const auto scaled = hn::Mul(lane.get(z + i), lane.get(factors + i));
    lane.put(bias == nullptr ? scaled : hn::Add(scaled, lane.get(bias + i)), y + i);
  });
}
void scale_line_f32(const float* z, const float* factors, const float* bias, float* y, int64_t n) {
  scale_line(z, factors, bias, y, n);
}
void scale_line_bf16(const uint16_t* z, const float* factors, const float* bias, uint16_t* y, int64_t n) {
  scale_line(z, factors, bias, y, n);
}

// sums += dy · z; dz = dy · factors
template <typename T>
HWY_INLINE void scale_grad_line(const T* dy, const T* z, const float* factors, float* sums, T* dz, int64_t n) {
  for_vectors(n, [&](int64_t i, auto lane) {
    const auto d = lane.get(dy + i);
    lane.put(hn::MulAdd(d, lane.get(z + i), lane.get(sums + i)), sums + i);
    lane.put(hn::Mul(d, lane.get(factors + i)), dz + i);
  });
}
void scale_grad_line_f32(const float* dy, const float* z, const float* factors, float* sums, float* dz, int64_t n) {
  scale_grad_line(dy, z, factors, sums, dz, n);
}
void scale_grad_line_bf16(const uint16_t* dy, const uint16_t* z, const float* factors, float* sums, uint16_t* dz,
                          int64_t n) {
  scale_grad_line(dy, z, factors, sums, dz, n);
}

template <typename T>
HWY_INLINE void drop(const T* x, uint32_t key, uint32_t threshold, float factor, T* y, int64_t n) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> d32;
  const auto f = hn::Set(d, factor);
  const auto limit = hn::Set(d32, threshold);
  for_vectors(n, [&](int64_t i, auto lane) {
    const auto dropped = hn::Gt(limit, random_bits(key, static_cast<uint32_t>(i)));
    lane.put(hn::IfThenZeroElse(hn::RebindMask(d, dropped), hn::Mul(f, lane.get(x + i))), y + i);
  });
}
void drop_f32(const float* x, uint32_t key, uint32_t threshold, float factor, float* y, int64_t n) {
  drop(x, key, threshold, factor, y, n);
}
void drop_bf16(const uint16_t* x, uint32_t key, uint32_t threshold, float factor, uint16_t* y, int64_t n) {
  drop(x, key, threshold, factor, y, n);
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(widen_f32);
HWY_EXPORT(widen_bf16);
HWY_EXPORT(add_scaled_f32);
HWY_EXPORT(add_scaled_bf16);
HWY_EXPORT(squares_of);
HWY_EXPORT(add_squares_of);
HWY_EXPORT(scale_line_f32);
HWY_EXPORT(scale_line_bf16);
HWY_EXPORT(scale_grad_line_f32);
HWY_EXPORT(scale_grad_line_bf16);
HWY_EXPORT(drop_f32);
HWY_EXPORT(drop_bf16);

namespace {

constexpr int64_t kRowTile = 8;
constexpr int64_t kPiece = 1024;        // of a row, on the stack
constexpr int64_t kColumnTile = 64;     // columns that one thread sums over all rows
constexpr int64_t kRowBlock = 64;       // rows that are summed before they are added to the total
constexpr int64_t kDropTile = 1 << 14;  // elements with random bits of one key

void widen_any(DType dtype, const void* from, int64_t first, float* to, int64_t n) {
  if (dtype == DType::f32) HWY_DYNAMIC_DISPATCH(widen_f32)(static_cast<const float*>(from) + first, to, n);
  else HWY_DYNAMIC_DISPATCH(widen_bf16)(static_cast<const uint16_t*>(from) + first, to, n);
}
void add_scaled_any(DType dtype, float factor, const void* from, int64_t first, float* to, int64_t n) {
  if (dtype == DType::f32) HWY_DYNAMIC_DISPATCH(add_scaled_f32)(factor, static_cast<const float*>(from) + first, to, n);
  else HWY_DYNAMIC_DISPATCH(add_scaled_bf16)(factor, static_cast<const uint16_t*>(from) + first, to, n);
}
float element(DType dtype, const void* from, int64_t i) {
  return dtype == DType::f32 ? static_cast<const float*>(from)[i] : bf16_to_f32(static_cast<const uint16_t*>(from)[i]);
}

// An output is a row: piece by piece of its inputs.
void norm_of_rows(ThreadPool& pool, const DoraNormSpec& s, const void* weight, const void* a, const void* b,
                  float* norm) {
  pool.parallel_for(ceil_div(s.n, kRowTile), [&](int64_t tile, int) {
    std::array<float, kPiece> piece;
    const int64_t last = std::min((tile + 1) * kRowTile, s.n);
    for (int64_t j = tile * kRowTile; j < last; ++j) {
      double sum = 0;
      for (int64_t first = 0; first < s.k; first += kPiece) {
        const int64_t count = std::min(kPiece, s.k - first);
        if (is_packed(s.weight))
          unpack_tile({s.weight, s.n, s.k, static_cast<const std::byte*>(weight)}, j, 1, first, count, piece.data(),
                      count);
        else widen_any(s.dtype, weight, j * s.k + first, piece.data(), count);
        for (int64_t r = 0; r < s.rank; ++r)
          add_scaled_any(s.dtype, s.scale * element(s.dtype, b, j * s.rank + r), a, r * s.k + first, piece.data(),
                         count);
        sum += static_cast<double>(HWY_DYNAMIC_DISPATCH(squares_of)(piece.data(), count));
      }
      norm[j] = static_cast<float>(std::sqrt(sum));
    }
  });
}

// An output is a column; `b_rows` holds scale · b as (rank, n).
void norm_of_columns(ThreadPool& pool, const DoraNormSpec& s, const void* weight, const void* a, const void* b,
                     float* norm, float* b_rows) {
  for (int64_t j = 0; j < s.n; ++j)
    for (int64_t r = 0; r < s.rank; ++r) b_rows[r * s.n + j] = s.scale * element(s.dtype, b, j * s.rank + r);
  pool.parallel_for(ceil_div(s.n, kColumnTile), [&](int64_t tile, int) {
    const int64_t first = tile * kColumnTile, count = std::min(kColumnTile, s.n - first);
    std::array<float, kColumnTile> line, block;
    std::array<double, kColumnTile> total{};
    for (int64_t begin = 0; begin < s.k; begin += kRowBlock) {
      block.fill(0);
      for (int64_t k = begin; k < std::min(begin + kRowBlock, s.k); ++k) {
        widen_any(s.dtype, weight, k * s.n + first, line.data(), count);
        for (int64_t r = 0; r < s.rank; ++r)
          add_scaled_any(DType::f32, element(s.dtype, a, r * s.k + k), b_rows, r * s.n + first, line.data(), count);
        HWY_DYNAMIC_DISPATCH(add_squares_of)(line.data(), block.data(), count);
      }
      for (size_t i = 0; i < total.size(); ++i) total[i] += static_cast<double>(block[i]);
    }
    for (int64_t i = 0; i < count; ++i) norm[first + i] = static_cast<float>(std::sqrt(total[static_cast<size_t>(i)]));
  });
}

}  // namespace

int64_t dora_norm_workspace_bytes(const DoraNormSpec& spec) {
  return spec.transpose_weight ? 0 : spec.rank * spec.n * int64_t{sizeof(float)};
}

void dora_norm(ThreadPool& pool, const DoraNormSpec& spec, const void* weight, const void* a, const void* b,
               float* norm, void* workspace) {
  if (spec.transpose_weight) norm_of_rows(pool, spec, weight, a, b, norm);
  else norm_of_columns(pool, spec, weight, a, b, norm, static_cast<float*>(workspace));
}

void scale_columns(ThreadPool& pool, DType dtype, int64_t rows, int64_t columns, const void* z, const float* magnitude,
                   const float* norm, const void* bias, DType bias_dtype, void* y) {
  pool.parallel_for(ceil_div(rows, kRowBlock), [&](int64_t tile, int) {
    std::array<float, kPiece> factors, shifts;
    for (int64_t first = 0; first < columns; first += kPiece) {
      const int64_t count = std::min(kPiece, columns - first);
      for (int64_t i = 0; i < count; ++i) factors[static_cast<size_t>(i)] = magnitude[first + i] / norm[first + i];
      if (bias != nullptr) widen_any(bias_dtype, bias, first, shifts.data(), count);
      const float* const shift = bias != nullptr ? shifts.data() : nullptr;
      for (int64_t row = tile * kRowBlock; row < std::min((tile + 1) * kRowBlock, rows); ++row) {
        const int64_t at = row * columns + first;
        if (dtype == DType::f32) HWY_DYNAMIC_DISPATCH(scale_line_f32)
        (static_cast<const float*>(z) + at, factors.data(), shift, static_cast<float*>(y) + at, count);
        else HWY_DYNAMIC_DISPATCH(scale_line_bf16)(static_cast<const uint16_t*>(z) + at, factors.data(), shift,
                                                   static_cast<uint16_t*>(y) + at, count);
      }
    }
  });
}

void scale_rows(ThreadPool& pool, DType dtype, int64_t rows, int64_t columns, const void* z, const float* magnitude,
                const float* norm, void* y) {
  PLIMSOLL_CHECK(dtype == DType::f32, "rows are scaled in f32");
  pool.parallel_for(rows, [&](int64_t row, int) {
    const float factor = magnitude[row] / norm[row];
    const float* const from = static_cast<const float*>(z) + row * columns;
    float* const to = static_cast<float*>(y) + row * columns;
    for (int64_t i = 0; i < columns; ++i) to[i] = factor * from[i];
  });
}

void scale_columns_grad(ThreadPool& pool, DType dtype, int64_t rows, int64_t columns, const void* dy, const void* z,
                        const float* magnitude, const float* norm, float* d_magnitude, void* dz) {
  pool.parallel_for(ceil_div(columns, kColumnTile), [&](int64_t tile, int) {
    const int64_t first = tile * kColumnTile, count = std::min(kColumnTile, columns - first);
    std::array<float, kColumnTile> factors, block, total{};
    for (int64_t i = 0; i < count; ++i) factors[static_cast<size_t>(i)] = magnitude[first + i] / norm[first + i];
    for (int64_t begin = 0; begin < rows; begin += kRowBlock) {
      block.fill(0);
      for (int64_t row = begin; row < std::min(begin + kRowBlock, rows); ++row) {
        const int64_t at = row * columns + first;
        if (dtype == DType::f32) HWY_DYNAMIC_DISPATCH(scale_grad_line_f32)
        (static_cast<const float*>(dy) + at, static_cast<const float*>(z) + at, factors.data(), block.data(),
         static_cast<float*>(dz) + at, count);
        else HWY_DYNAMIC_DISPATCH(scale_grad_line_bf16)(static_cast<const uint16_t*>(dy) + at,
                                                        static_cast<const uint16_t*>(z) + at, factors.data(),
                                                        block.data(), static_cast<uint16_t*>(dz) + at, count);
      }
      for (size_t i = 0; i < total.size(); ++i) total[i] += block[i];
    }
    for (int64_t i = 0; i < count && d_magnitude != nullptr; ++i)
      d_magnitude[first + i] += total[static_cast<size_t>(i)] / norm[first + i];
  });
}

void dropout(ThreadPool& pool, DType dtype, int64_t n, double p, uint64_t key, const void* x, void* y) {
  const auto threshold = static_cast<uint32_t>(std::min(p * 0x1p32, 0x1p32 - 1));
  const auto factor = static_cast<float>(1.0 / (1.0 - p));
  pool.parallel_for(ceil_div(n, kDropTile), [&](int64_t tile, int) {
    const int64_t first = tile * kDropTile, count = std::min(kDropTile, n - first);
    const auto own = static_cast<uint32_t>(mix_bits(key + static_cast<uint64_t>(tile)));
    if (dtype == DType::f32) HWY_DYNAMIC_DISPATCH(drop_f32)
    (static_cast<const float*>(x) + first, own, threshold, factor, static_cast<float*>(y) + first, count);
    else HWY_DYNAMIC_DISPATCH(drop_bf16)(static_cast<const uint16_t*>(x) + first, own, threshold, factor,
                                         static_cast<uint16_t*>(y) + first, count);
  });
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
