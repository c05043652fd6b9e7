// bf16 products on Intel AMX tiles (Intel SDM vol. 1 ch. 18): a tile of A is 16 rows of 32 k, a tile of B is 16 pairs of k
// by 16 columns, one instruction multiplies them into a 16 x 16 f32 tile.
//
// B is packed into such tiles a panel at a time, once for all threads; tasks then take ranges of rows. A is read where it
// lies when its rows are whole tiles, else packed 32 rows at a time.
#include "backend/cpu/matmul_kernel.h"

#if defined(__x86_64__)

// GCC 12 takes the "undefined" operands inside its own intrinsics for mistakes of ours.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <dnnl.hpp>

#include "base/bytes.h"

#define PLIMSOLL_AMX __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16")))
#define PLIMSOLL_AMX_INLINE PLIMSOLL_AMX __attribute__((always_inline)) inline

namespace plimsoll::cpu {
namespace {

constexpr int64_t kTileBytes = 1024;
constexpr int64_t kTileRows = 16;   // of A and C; columns of B and C
constexpr int64_t kTileDepth = 32;  // of k
constexpr int64_t kMaxDepth = 2048;             // of k in one panel
constexpr int64_t kPanelBytes = 2560 * 1024;    // of packed B; with a block of A it stays in a core's second-level cache
constexpr int64_t kBlockRows = 2 * kTileRows;   // rows of A packed at a time

// --- tiles -----------------------------------------------------------------------------------------------------------

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

// out (16 · rows, 16 · columns), 16 · columns floats a row, = the product over `depth` tiles of k. Strip j of B begins at
// b + j · strip_bytes. Two tile registers hold A in turn and two hold B, so that loads run ahead of products.
template <int rows, int columns>
PLIMSOLL_AMX void multiply_strips(const StripsOfA& a, const std::byte* b, int64_t strip_bytes, int64_t depth, float* out) {
  static_assert(rows * columns <= 4);
  tile_zero<0>();
  if constexpr (rows * columns > 1) tile_zero<1>();
  if constexpr (rows * columns > 2) tile_zero<2>();
  if constexpr (rows * columns > 3) tile_zero<3>();
  for (int64_t k = 0; k < depth; ++k) {
    const auto load_b = [&]<int tile>(int column) PLIMSOLL_AMX { tile_load<tile>(b + column * strip_bytes + k * kTileBytes, 64); };
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
  constexpr int64_t stride = 64 * columns;
  const auto to = [&](int tile) { return out + (tile / columns) * 16 * 16 * columns + (tile % columns) * 16; };
  tile_store<0>(to(0), stride);
  if constexpr (rows * columns > 1) tile_store<1>(to(1), stride);
  if constexpr (rows * columns > 2) tile_store<2>(to(2), stride);
  if constexpr (rows * columns > 3) tile_store<3>(to(3), stride);
}

// --- packing ---------------------------------------------------------------------------------------------------------

PLIMSOLL_AMX_INLINE void transpose_16x16(__m512i row[16]) {
  __m512i t[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(row[2 * i], row[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(row[2 * i], row[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    row[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    row[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    row[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    row[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(row[i], row[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(row[i], row[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(row[i + 8], row[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(row[i + 8], row[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    row[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    row[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

// One tile out of a matrix stored with k along its rows: 16 rows (from + i · stride) of 32 k. Rows from `rows` on and k from
// `depth` on are zero. `transpose` turns A's tile (row by row) into B's (pair of k by pair of k).
template <bool transpose>
PLIMSOLL_AMX void pack_along_k(const uint16_t* from, int64_t stride, int64_t rows, int64_t depth, std::byte* to) {
  const auto mask = static_cast<__mmask32>(depth >= 32 ? 0xffffffffU : (1U << depth) - 1);
  __m512i row[16];
  for (int64_t i = 0; i < 16; ++i) row[i] = i < rows ? _mm512_maskz_loadu_epi16(mask, from + i * stride) : _mm512_setzero_si512();
  if constexpr (transpose) transpose_16x16(row);
  for (int64_t i = 0; i < 16; ++i) _mm512_store_si512(to + i * 64, row[i]);
}

// One tile out of a matrix stored with k down its columns: 32 k (from + i · stride) of 16 rows of A (transpose) or columns of B.
template <bool transpose>
PLIMSOLL_AMX void pack_across_k(const uint16_t* from, int64_t stride, int64_t width, int64_t depth, std::byte* to) {
  const auto mask = static_cast<__mmask16>(width >= 16 ? 0xffffU : (1U << width) - 1);
  __m512i row[16];
  for (int64_t i = 0; i < 16; ++i) {
    const __m256i low = 2 * i < depth ? _mm256_maskz_loadu_epi16(mask, from + 2 * i * stride) : _mm256_setzero_si256();
    const __m256i high = 2 * i + 1 < depth ? _mm256_maskz_loadu_epi16(mask, from + (2 * i + 1) * stride) : _mm256_setzero_si256();
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
PLIMSOLL_AMX void finish_block(const Finish& finish, const float* block, int64_t stride, int64_t row, int64_t column, int64_t rows, int64_t columns) {
  const __m512 alpha = _mm512_set1_ps(finish.alpha);
  for (int64_t j = 0; j < columns; j += 16) {
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
          v = _mm512_add_ps(v, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, to)), 16)));
        _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(v));
      } else {
        auto* const to = static_cast<float*>(finish.c) + at;
        if constexpr (accumulate) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, to));
        _mm512_mask_storeu_ps(to, mask, v);
      }
    }
  }
}

// --- the product -----------------------------------------------------------------------------------------------------

struct AmxMatmul final : Matmul::Kernel {
  explicit AmxMatmul(const MatmulSpec& s) : Kernel(s) {
    depth_step = std::min(round_up(s.k, kTileDepth), kMaxDepth);
    column_step = std::min(round_up(s.n, kTileRows), std::max<int64_t>(256, kPanelBytes / 2 / depth_step / 32 * 32));
    const bool whole_depth = s.k <= depth_step;
    panel_bytes = depth_step * column_step * 2;
    sum_bytes = !whole_depth && s.c == DType::bf16 ? round_up(s.m * column_step * 4, 64) : 0;
    block_bytes = kBlockRows * 2 * depth_step;
  }

  int64_t workspace_bytes(int threads) const override { return panel_bytes + sum_bytes + block_bytes * threads; }

  void run(ThreadPool& pool, const MatmulOperands& operands) const override { run_part(pool, operands, spec.m, spec.k); }

  void run_part(ThreadPool& pool, const MatmulOperands& operands, int64_t m, int64_t k) const override {
    for (int64_t column = 0; column < spec.n; column += column_step) {
      const int64_t columns = std::min(column_step, spec.n - column);
      for (int64_t from = 0; from < k; from += depth_step) {
        const Panel panel{column, columns, from, std::min(depth_step, k - from), m, from == 0, from + depth_step >= k};
        pack_b(pool, operands, panel);
        multiply(pool, operands, panel);
      }
    }
  }

  // What one round works on: B's rows [from, from + depth) and columns [column, column + columns).
  struct Panel {
    int64_t column, columns, from, depth, m;
    bool first, last;  // along k
    int64_t tiles() const { return ceil_div(depth, kTileDepth); }
    int64_t strip_bytes() const { return tiles() * kTileBytes; }
  };

  void pack_b(ThreadPool& pool, const MatmulOperands& operands, const Panel& panel) const {
    const auto* const b = static_cast<const uint16_t*>(operands.b);
    const int64_t strips = ceil_div(panel.columns, kTileRows);
    const int64_t each = std::max<int64_t>(1, 64 * 1024 / panel.strip_bytes());
    pool.parallel_for(ceil_div(strips, each), [&](int64_t task, int) {
      for (int64_t strip = task * each; strip < std::min(strips, (task + 1) * each); ++strip) {
        std::byte* const to = operands.workspace + strip * panel.strip_bytes();
        const int64_t column = panel.column + strip * kTileRows;
        const int64_t width = std::min(kTileRows, panel.column + panel.columns - column);
        for (int64_t tile = 0; tile < panel.tiles(); ++tile) {
          const int64_t at = panel.from + tile * kTileDepth;
          const int64_t depth = std::min(kTileDepth, panel.from + panel.depth - at);
          if (spec.transpose_b) pack_along_k<true>(b + column * spec.ldb + at, spec.ldb, width, depth, to + tile * kTileBytes);
          else pack_across_k<false>(b + at * spec.ldb + column, spec.ldb, width, depth, to + tile * kTileBytes);
        }
      }
    });
  }

  void multiply(ThreadPool& pool, const MatmulOperands& operands, const Panel& panel) const {
    // About 16 tasks: rows first, then columns where there are few rows.
    const int64_t task_rows = std::clamp(round_up(ceil_div(panel.m, 16), 64), int64_t{64}, int64_t{256});
    const int64_t row_tasks = ceil_div(panel.m, task_rows);
    const int64_t column_tasks = std::min(ceil_div(panel.columns, 64), ceil_div(int64_t{8}, row_tasks));
    const int64_t task_columns = round_up(ceil_div(panel.columns, column_tasks), 64);
    pool.parallel_for(row_tasks * column_tasks, [&](int64_t task, int thread) {
      const int64_t row = task % row_tasks * task_rows;
      const int64_t column = task / row_tasks * task_columns;
      if (column >= panel.columns) return;
      multiply_task(operands, panel, row, std::min(panel.m, row + task_rows), column, std::min(panel.columns, column + task_columns),
                    operands.workspace + panel_bytes + sum_bytes + block_bytes * thread);
    });
  }

  // Rows [row, row_end) of C, columns [column, column_end) of the panel.
  PLIMSOLL_AMX void multiply_task(const MatmulOperands& operands, const Panel& panel, int64_t row, int64_t row_end, int64_t column,
                                  int64_t column_end, std::byte* block) const {
    static const TileConfig config;
    _tile_loadconfig(&config);
    const int64_t step = column_end - column <= kTileRows ? 4 * kTileRows : kBlockRows;
    for (; row < row_end; row += step) {
      const int64_t rows = std::min(step, row_end - row);
      if (step == kBlockRows || (rows == step && is_in_place(panel))) {
        multiply_rows(operands, panel, row, rows, column, column_end, block);
      } else {  // four strips can't be packed at once
        for (int64_t part = 0; part < rows; part += kBlockRows)
          multiply_rows(operands, panel, row + part, std::min(kBlockRows, rows - part), column, column_end, block);
      }
    }
    _tile_release();
  }

  bool is_in_place(const Panel& panel) const { return !spec.transpose_a && panel.depth % kTileDepth == 0; }

  // Up to 64 rows (32 when A must be packed).
  PLIMSOLL_AMX void multiply_rows(const MatmulOperands& operands, const Panel& panel, int64_t row, int64_t rows, int64_t column,
                                  int64_t column_end, std::byte* block) const {
    const auto* const a = static_cast<const uint16_t*>(operands.a);
    const int64_t strips = ceil_div(rows, kTileRows);
    StripsOfA strips_of_a{};
    if (is_in_place(panel) && rows % kTileRows == 0) {
      strips_of_a.step = 64;
      strips_of_a.stride = spec.lda * 2;
      for (int64_t i = 0; i < strips; ++i)
        strips_of_a.begin[i] = reinterpret_cast<const std::byte*>(a + (row + i * kTileRows) * spec.lda + panel.from);
    } else {
      strips_of_a.step = kTileBytes;
      strips_of_a.stride = 64;
      for (int64_t i = 0; i < strips; ++i) {
        std::byte* const to = block + i * panel.strip_bytes();
        strips_of_a.begin[i] = to;
        const int64_t from_row = row + i * kTileRows;
        const int64_t height = std::min(kTileRows, row + rows - from_row);
        for (int64_t tile = 0; tile < panel.tiles(); ++tile) {
          const int64_t at = panel.from + tile * kTileDepth;
          const int64_t depth = std::min(kTileDepth, panel.from + panel.depth - at);
          if (spec.transpose_a) pack_across_k<true>(a + at * spec.lda + from_row, spec.lda, height, depth, to + tile * kTileBytes);
          else pack_along_k<false>(a + from_row * spec.lda + at, spec.lda, height, depth, to + tile * kTileBytes);
        }
      }
    }
    alignas(64) float out[4 * 256];
    while (column < column_end) {
      const int64_t left = ceil_div(column_end - column, kTileRows);
      const std::byte* const b = operands.workspace + column / kTileRows * panel.strip_bytes();
      const int64_t taken = strips == 1 ? (left >= 4 ? 4 : std::min<int64_t>(left, 2)) : strips == 2 ? std::min<int64_t>(left, 2) : 1;
      const int64_t width = std::min(taken * kTileRows, column_end - column);
      const int64_t bytes = panel.strip_bytes();
      switch (strips * 8 + taken) {
        case 8 + 1: multiply_strips<1, 1>(strips_of_a, b, bytes, panel.tiles(), out); break;
        case 8 + 2: multiply_strips<1, 2>(strips_of_a, b, bytes, panel.tiles(), out); break;
        case 8 + 4: multiply_strips<1, 4>(strips_of_a, b, bytes, panel.tiles(), out); break;
        case 16 + 1: multiply_strips<2, 1>(strips_of_a, b, bytes, panel.tiles(), out); break;
        case 16 + 2: multiply_strips<2, 2>(strips_of_a, b, bytes, panel.tiles(), out); break;
        default: multiply_strips<4, 1>(strips_of_a, b, bytes, panel.tiles(), out); break;
      }
      store(operands, panel, out, taken * kTileRows, row, column, rows, width);
      column += width;
    }
  }

  // A finished block goes to C; where k takes several panels, a bf16 C waits in f32 sums until the last.
  void store(const MatmulOperands& operands, const Panel& panel, float* out, int64_t stride, int64_t row, int64_t column, int64_t rows,
             int64_t columns) const {
    auto* const sums = reinterpret_cast<float*>(operands.workspace + panel_bytes);
    if (sum_bytes > 0) {
      const Finish to_sums{sums, column_step, nullptr, false, 1.0F};
      if (!panel.last) {
        if (panel.first) finish_block<false, false>(to_sums, out, stride, row, column, rows, columns);
        else finish_block<false, true>(to_sums, out, stride, row, column, rows, columns);
        return;
      }
      if (!panel.first)
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < columns; ++j) out[i * stride + j] += sums[(row + i) * column_step + column + j];
    }
    const bool closes = sum_bytes > 0 || panel.first;  // the bias is added once
    const Finish finish{operands.c, spec.ldc, spec.has_bias && closes ? operands.bias : nullptr, spec.bias == DType::bf16, spec.alpha};
    const bool accumulate = spec.accumulate || (sum_bytes == 0 && !panel.first);
    column += panel.column;
    if (spec.c == DType::bf16) {
      if (accumulate) finish_block<true, true>(finish, out, stride, row, column, rows, columns);
      else finish_block<true, false>(finish, out, stride, row, column, rows, columns);
    } else {
      if (accumulate) finish_block<false, true>(finish, out, stride, row, column, rows, columns);
      else finish_block<false, false>(finish, out, stride, row, column, rows, columns);
    }
  }

  int64_t depth_step, column_step;
  int64_t panel_bytes, sum_bytes, block_bytes;
};

// The kernel gives a process the tile registers on request only. oneDNN's view of the CPU is asked so that its
// environment variable ONEDNN_MAX_CPU_ISA limits us too.
bool has_amx() {
  static const bool has = [] {
    constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
    const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
    const auto amx = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_amx);
    return (isa & amx) == amx && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return has;
}

}  // namespace

std::shared_ptr<const Matmul::Kernel> make_amx_matmul(const MatmulSpec& spec) {
  if (spec.a != DType::bf16 || spec.m == 0 || spec.n == 0 || spec.k == 0 || !has_amx()) return nullptr;
  return std::make_shared<AmxMatmul>(spec);
}

}  // namespace plimsoll::cpu

#else

namespace plimsoll::cpu {
std::shared_ptr<const Matmul::Kernel> make_amx_matmul(const MatmulSpec&) { return nullptr; }
}  // namespace plimsoll::cpu

#endif
