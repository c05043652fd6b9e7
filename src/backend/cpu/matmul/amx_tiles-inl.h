// The parts of matmul_amx.cpp that see intrinsics: tiles multiplied, packed, and written to C. Only for that file.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "backend/cpu/simd/avx512_transpose-inl.h"

#define PLIMSOLL_AMX __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16")))
#define PLIMSOLL_AMX_INLINE PLIMSOLL_AMX __attribute__((always_inline)) inline

namespace plimsoll::cpu {
namespace {

constexpr int64_t kTileBytes = 1024;
constexpr int64_t kTileRows = 16;   // of A and C; columns of B and C
constexpr int64_t kTileDepth = 32;  // of k

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

template <int tile>
PLIMSOLL_AMX_INLINE void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(tile));
}
template <int tile>
PLIMSOLL_AMX_INLINE void tile_load(const void* from, int64_t stride_bytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride_bytes), "i"(tile) : "memory");
}
template <int tile>
PLIMSOLL_AMX_INLINE void tile_store(void* to, int64_t stride_bytes) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride_bytes), "i"(tile) : "memory");
}
template <int c, int a, int b>
PLIMSOLL_AMX_INLINE void tile_multiply() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
}

// Up to 4 strips of 16 rows of A: tile k of strip i begins at begin[i] + k · step bytes.
struct StripsOfA {
  const std::byte* begin[4];
  int64_t step;    // 64 in place, kTileBytes packed
  int64_t stride;  // bytes between rows: lda · 2 in place, 64 packed
};

// out (16 · rows, 16 · columns), out_stride bytes between rows, = sums (dense; null: zero) + the product over `depth`
// tiles of k. Strip j of B begins at b + j · strip_bytes. Two tile registers hold A in turn and two hold B, so that
// loads run ahead of products.
template <int rows, int columns>
PLIMSOLL_AMX void multiply_strips(const StripsOfA& a, const std::byte* b, int64_t strip_bytes, int64_t depth,
                                  const float* sums, float* out, int64_t out_stride) {
  static_assert(rows * columns <= 4);
  constexpr int64_t stride = 64 * columns;
  const auto at = [](int tile) { return (tile / columns) * 16 * 16 * columns + (tile % columns) * 16; };
  const auto to = [&](int tile) { return out + (tile / columns) * 4 * out_stride + (tile % columns) * 16; };
  if (sums == nullptr) {
    tile_zero<0>();
    if constexpr (rows * columns > 1) tile_zero<1>();
    if constexpr (rows * columns > 2) tile_zero<2>();
    if constexpr (rows * columns > 3) tile_zero<3>();
  } else {
    tile_load<0>(sums + at(0), stride);
    if constexpr (rows * columns > 1) tile_load<1>(sums + at(1), stride);
    if constexpr (rows * columns > 2) tile_load<2>(sums + at(2), stride);
    if constexpr (rows * columns > 3) tile_load<3>(sums + at(3), stride);
  }
  for (int64_t k = 0; k < depth; ++k) {
    const auto load_b = [&]<int tile>(int column)
                            PLIMSOLL_AMX { tile_load<tile>(b + column * strip_bytes + k * kTileBytes, 64); };
    const auto load_a = [&]<int tile>(int row) PLIMSOLL_AMX { tile_load<tile>(a.begin[row] + k * a.step, a.stride); };
    load_b.template operator()<6>(0);
    load_a.template operator()<4>(0);
    if constexpr (rows == 4) {
      tile_multiply<0, 4, 6>();
      load_a.template operator()<5>(1);
      tile_multiply<1, 5, 6>();
      load_a.template operator()<4>(2);
      tile_multiply<2, 4, 6>();
      load_a.template operator()<5>(3);
      tile_multiply<3, 5, 6>();
    } else if constexpr (columns == 4) {
      tile_multiply<0, 4, 6>();
      load_b.template operator()<7>(1);
      tile_multiply<1, 4, 7>();
      load_b.template operator()<6>(2);
      tile_multiply<2, 4, 6>();
      load_b.template operator()<7>(3);
      tile_multiply<3, 4, 7>();
    } else {
      tile_multiply<0, 4, 6>();
      if constexpr (columns == 2) {
        load_b.template operator()<7>(1);
        tile_multiply<1, 4, 7>();
      }
      if constexpr (rows == 2) {
        load_a.template operator()<5>(1);
        tile_multiply<columns, 5, 6>();
        if constexpr (columns == 2) tile_multiply<3, 5, 7>();
      }
    }
  }
  tile_store<0>(to(0), out_stride);
  if constexpr (rows * columns > 1) tile_store<1>(to(1), out_stride);
  if constexpr (rows * columns > 2) tile_store<2>(to(2), out_stride);
  if constexpr (rows * columns > 3) tile_store<3>(to(3), out_stride);
}

PLIMSOLL_AMX void multiply_block(int64_t rows, int64_t columns, const StripsOfA& a, const std::byte* b,
                                 int64_t strip_bytes, int64_t depth, const float* sums, float* out,
                                 int64_t out_stride) {
  switch (rows * 8 + columns) {
    case 8 + 1:
      return multiply_strips<1, 1>(a, b, strip_bytes, depth, sums, out, out_stride);
    case 8 + 2:
      return multiply_strips<1, 2>(a, b, strip_bytes, depth, sums, out, out_stride);
    case 8 + 4:
      return multiply_strips<1, 4>(a, b, strip_bytes, depth, sums, out, out_stride);
    case 16 + 1:
      return multiply_strips<2, 1>(a, b, strip_bytes, depth, sums, out, out_stride);
    case 16 + 2:
      return multiply_strips<2, 2>(a, b, strip_bytes, depth, sums, out, out_stride);
    default:
      return multiply_strips<4, 1>(a, b, strip_bytes, depth, sums, out, out_stride);
  }
}

// --- packing ---------------------------------------------------------------------------------------------------------

// One tile out of a matrix stored with k along its rows: 16 rows (from + i · stride) of 32 k. Rows from `rows` on and k
// from `depth` on are zero. `transpose` turns A's tile (row by row) into B's (pair of k by pair of k).
template <bool transpose>
PLIMSOLL_AMX void pack_along_k(const uint16_t* from, int64_t stride, int64_t rows, int64_t depth, std::byte* to) {
  const auto mask = static_cast<__mmask32>(depth >= 32 ? 0xffffffffU : (1U << depth) - 1);
  __m512i row[16];
  for (int64_t i = 0; i < 16; ++i)
    row[i] = i < rows ? _mm512_maskz_loadu_epi16(mask, from + i * stride) : _mm512_setzero_si512();
  if constexpr (transpose) transpose_16x16(row);
  for (int64_t i = 0; i < 16; ++i) _mm512_store_si512(to + i * 64, row[i]);
}

// One tile out of a matrix stored with k down its columns: 32 k (from + i · stride) of 16 rows of A (transpose) or
// columns of B.
template <bool transpose>
PLIMSOLL_AMX void pack_across_k(const uint16_t* from, int64_t stride, int64_t width, int64_t depth, std::byte* to) {
  const auto mask = static_cast<__mmask16>(width >= 16 ? 0xffffU : (1U << width) - 1);
  __m512i row[16];
  for (int64_t i = 0; i < 16; ++i) {
    const __m256i low = 2 * i < depth ? _mm256_maskz_loadu_epi16(mask, from + 2 * i * stride) : _mm256_setzero_si256();
    const __m256i high =
        2 * i + 1 < depth ? _mm256_maskz_loadu_epi16(mask, from + (2 * i + 1) * stride) : _mm256_setzero_si256();
    row[i] = _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
  }
  if constexpr (transpose) transpose_16x16(row);
  for (int64_t i = 0; i < 16; ++i) _mm512_store_si512(to + i * 64, row[i]);
}

// --- results ---------------------------------------------------------------------------------------------------------

struct Finish {
  void* c;  // f32 or bf16
  int64_t ldc;
  const void* bias;  // null: none
  bool bias_bf16;
  float alpha;
};

template <bool bf16, bool accumulate>
PLIMSOLL_AMX void finish_block(const Finish& finish, const float* block, int64_t stride, int64_t row, int64_t column,
                               int64_t rows, int64_t columns) {
  const __m512 alpha = _mm512_set1_ps(finish.alpha);
  int64_t j = 0;
  if constexpr (bf16) {
    if (finish.bias == nullptr)  // whole lines
      for (; j + 32 <= columns; j += 32)
        for (int64_t i = 0; i < rows; ++i) {
          auto* const to = static_cast<uint16_t*>(finish.c) + (row + i) * finish.ldc + column + j;
          __m512 low = _mm512_mul_ps(alpha, _mm512_loadu_ps(block + i * stride + j));
          __m512 high = _mm512_mul_ps(alpha, _mm512_loadu_ps(block + i * stride + j + 16));
          if constexpr (accumulate) {
            const __m512i old = _mm512_loadu_si512(to);
            low = _mm512_add_ps(
                low, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(old)), 16)));
            high = _mm512_add_ps(high, _mm512_castsi512_ps(_mm512_slli_epi32(
                                           _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(old, 1)), 16)));
          }
          _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
        }
  }
  for (; j < columns; j += 16) {
    const auto mask = static_cast<__mmask16>(columns - j >= 16 ? 0xffffU : (1U << (columns - j)) - 1);
    __m512 bias = _mm512_setzero_ps();
    if (finish.bias != nullptr) {
      if (finish.bias_bf16) {
        const __m256i bits = _mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(finish.bias) + column + j);
        bias = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
      } else {
        bias = _mm512_maskz_loadu_ps(mask, static_cast<const float*>(finish.bias) + column + j);
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      __m512 v = _mm512_fmadd_ps(alpha, _mm512_loadu_ps(block + i * stride + j), bias);
      const int64_t at = (row + i) * finish.ldc + column + j;
      if constexpr (bf16) {
        auto* const to = static_cast<uint16_t*>(finish.c) + at;
        if constexpr (accumulate)
          v = _mm512_add_ps(
              v, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, to)), 16)));
        _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(v));
      } else {
        auto* const to = static_cast<float*>(finish.c) + at;
        if constexpr (accumulate) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, to));
        _mm512_mask_storeu_ps(to, mask, v);
      }
    }
  }
}

}  // namespace
}  // namespace plimsoll::cpu
