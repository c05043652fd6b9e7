#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/matmul/matmul_skinny.cpp"
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
// clang-format on

#include <algorithm>

#include "backend/cpu/matmul/matmul_kernel.h"
#include "backend/cpu/matmul/packed_dot.h"
#include "base/bytes.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

constexpr int64_t kMaxBytesAhead = 4096;

// tile[i * stride + j] = a row i · b row j, for `rows` rows of a and `columns` rows of b.
template <int rows, typename T>
HWY_INLINE void dot_rows(const MatmulSpec& spec, const T* a, const T* b, int64_t columns, float* tile, int64_t stride) {
  constexpr int kColumns = 4;  // rows of b at a time: enough streams to keep memory busy
  for (int64_t j = 0; j < columns; j += kColumns) {
    VecF sums[rows][kColumns];
    for (auto& row : sums)
      for (auto& sum : row) sum = hn::Zero(Floats());
    const T* from[kColumns];
    for (int c = 0; c < kColumns; ++c) from[c] = b + std::min(j + c, columns - 1) * spec.ldb;
    // Rows are short: what is asked for in advance is mostly the rows after these.
    const int64_t ahead = std::min(kColumns * spec.ldb, kMaxBytesAhead / static_cast<int64_t>(sizeof(T)));
    for_vectors(spec.k, [&](int64_t i, auto lane) {
      VecF x[rows];
      for (int r = 0; r < rows; ++r) x[r] = lane.get(a + r * spec.lda + i);
      for (int c = 0; c < kColumns; ++c) {
        hwy::Prefetch(from[c] + i + ahead);
        const auto w = lane.get(from[c] + i);
        for (int r = 0; r < rows; ++r) sums[r][c] = hn::MulAdd(x[r], w, sums[r][c]);
      }
    });
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < kColumns && j + c < columns; ++c) tile[r * stride + j + c] = sum_of_lanes(sums[r][c]);
  }
}

template <typename T>
HWY_INLINE void dot_any(const MatmulSpec& spec, const T* a, const T* b, int64_t columns, float* tile, int64_t stride) {
  switch (spec.m) {
    case 1:
      return dot_rows<1>(spec, a, b, columns, tile, stride);
    case 2:
      return dot_rows<2>(spec, a, b, columns, tile, stride);
    case 3:
      return dot_rows<3>(spec, a, b, columns, tile, stride);
    default:
      return dot_rows<4>(spec, a, b, columns, tile, stride);
  }
}

void skinny_tile(const MatmulSpec& spec, const void* a, const void* b, int64_t column, int64_t columns, float* tile,
                 int64_t stride) {
  if (spec.a == DType::f32)
    dot_any(spec, static_cast<const float*>(a), static_cast<const float*>(b) + column * spec.ldb, columns, tile,
            stride);
  else
    dot_any(spec, static_cast<const uint16_t*>(a), static_cast<const uint16_t*>(b) + column * spec.ldb, columns, tile,
            stride);
}

template <typename C, typename B>
HWY_INLINE void finish(const MatmulSpec& spec, const float* tile, int64_t stride, int64_t rows, int64_t columns, C* c,
                       const B* bias) {
  const auto alpha = hn::Set(Floats(), spec.alpha);
  for (int64_t row = 0; row < rows; ++row) {
    const float* const from = tile + row * stride;
    C* const to = c + row * spec.ldc;
    for_vectors(columns, [&](int64_t i, auto lane) {
      auto v = hn::Mul(alpha, lane.get(from + i));
      if (bias != nullptr) v = hn::Add(v, lane.get(bias + i));
      if (spec.accumulate) v = hn::Add(v, lane.get(to + i));
      lane.put(v, to + i);
    });
  }
}

void matmul_finish(const MatmulSpec& spec, const float* tile, int64_t stride, int64_t row, int64_t column, int64_t rows,
                   int64_t columns, const MatmulOperands& operands) {
  const int64_t at = row * spec.ldc + column;
  const void* const bias = spec.has_bias ? operands.bias : nullptr;
  const auto run = [&](auto* c) {
    if (bias != nullptr && spec.bias == DType::bf16)
      finish(spec, tile, stride, rows, columns, c, static_cast<const uint16_t*>(bias) + column);
    else
      finish(spec, tile, stride, rows, columns, c,
             bias == nullptr ? nullptr : static_cast<const float*>(bias) + column);
  };
  if (spec.c == DType::f32) run(static_cast<float*>(operands.c) + at);
  else run(static_cast<uint16_t*>(operands.c) + at);
}

template <typename T>
HWY_INLINE void widen(const T* from, int64_t stride, int64_t rows, int64_t columns, float* to) {
  for (int64_t row = 0; row < rows; ++row)
    for_vectors(columns,
                [&](int64_t i, auto lane) { lane.put(lane.get(from + row * stride + i), to + row * columns + i); });
}
void matmul_widen_f32(const float* from, int64_t stride, int64_t rows, int64_t columns, float* to) {
  widen(from, stride, rows, columns, to);
}
void matmul_widen_bf16(const uint16_t* from, int64_t stride, int64_t rows, int64_t columns, float* to) {
  widen(from, stride, rows, columns, to);
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(skinny_tile);
HWY_EXPORT(matmul_finish);
HWY_EXPORT(matmul_widen_f32);
HWY_EXPORT(matmul_widen_bf16);

namespace {

constexpr int64_t kColumnTile = 64;

struct SkinnyMatmul final : Matmul::Kernel {
  using Kernel::Kernel;
  int64_t workspace_bytes(int) const override { return 0; }
  void run(ThreadPool& pool, const MatmulOperands& operands) const override {
    pool.parallel_for(ceil_div(spec.n, kColumnTile), [&](int64_t tile, int) {
      float sums[kMaxSkinnyRows * kColumnTile];
      const int64_t column = tile * kColumnTile;
      const int64_t columns = std::min(kColumnTile, spec.n - column);
      if (is_packed(spec.b))
        packed_dot({operands.a, spec.a, spec.m, spec.lda}, packed_b(spec, operands.b), column, columns, sums,
                   kColumnTile);
      else HWY_DYNAMIC_DISPATCH(skinny_tile)(spec, operands.a, operands.b, column, columns, sums, kColumnTile);
      store_matmul_tile(spec, sums, kColumnTile, 0, column, spec.m, columns, operands);
    });
  }
};

}  // namespace

std::shared_ptr<const Matmul::Kernel> make_skinny_matmul(const MatmulSpec& spec) {
  return std::make_shared<SkinnyMatmul>(spec);
}

void store_matmul_tile(const MatmulSpec& spec, const float* tile, int64_t stride, int64_t row, int64_t column,
                       int64_t rows, int64_t columns, const MatmulOperands& operands) {
  HWY_DYNAMIC_DISPATCH(matmul_finish)(spec, tile, stride, row, column, rows, columns, operands);
}

void widen_matmul_tile(const float* from, int64_t stride, int64_t rows, int64_t columns, float* to) {
  HWY_DYNAMIC_DISPATCH(matmul_widen_f32)(from, stride, rows, columns, to);
}
void widen_matmul_tile(const uint16_t* from, int64_t stride, int64_t rows, int64_t columns, float* to) {
  HWY_DYNAMIC_DISPATCH(matmul_widen_bf16)(from, stride, rows, columns, to);
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
