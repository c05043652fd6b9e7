// Attention kernels on bf16 blocks for x86 CPUs with AVX512-BF16, and with AMX where there is that too. Intrinsics,
// because Highway 1.0 has neither instruction.
#include <immintrin.h>

#include <algorithm>

#include "backend/cpu/attention/attention_kernels.h"
#include "backend/cpu/simd/avx512_transpose-inl.h"
#include "backend/cpu/simd/instructions.h"

#define PLIMSOLL_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define PLIMSOLL_BF16_INLINE \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"), always_inline)) inline
#define PLIMSOLL_AMX __attribute__((target("amx-tile,amx-bf16,avx512f")))

namespace plimsoll::cpu {
namespace {

constexpr int64_t kRowBytes = 64;     // a row of an A block, of half a B block, and of half a C block
constexpr int64_t kHalfBytes = 1024;  // 16 such rows

PLIMSOLL_BF16_INLINE __m512i as_bits(__m512bh value) { return reinterpret_cast<__m512i&>(value); }
PLIMSOLL_BF16_INLINE __m512bh as_bf16(__m512i bits) { return reinterpret_cast<__m512bh&>(bits); }

// --- packing
// ----------------------------------------------------------------------------------------------------------

// 32 elements of a row from `first` on; zeros behind d and for a null row.
PLIMSOLL_BF16_INLINE __m512i load_row(const char* row, int64_t first, int64_t d) {
  if (row == nullptr) return _mm512_setzero_si512();
  const int64_t width = d - first;
  if (width >= 32) return _mm512_loadu_si512(row + first * 2);
  return _mm512_maskz_loadu_epi16((__mmask32{1} << width) - 1, row + first * 2);
}

// Word orders that put two rows side by side, (x[c], y[c]).
struct Interleave {
  __m512i low, high;  // of 32-word rows x and y: columns 0-15 and 16-31
  __m512i halves;     // of 16-word rows that share a vector
  PLIMSOLL_BF16_INLINE static Interleave indices() {
    alignas(64) int16_t low[32], high[32], halves[32];
    for (int16_t c = 0; c < 16; ++c) {
      low[2 * c] = c;
      low[2 * c + 1] = static_cast<int16_t>(32 + c);
      high[2 * c] = static_cast<int16_t>(16 + c);
      high[2 * c + 1] = static_cast<int16_t>(48 + c);
      halves[2 * c] = c;
      halves[2 * c + 1] = static_cast<int16_t>(16 + c);
    }
    return {_mm512_load_si512(low), _mm512_load_si512(high), _mm512_load_si512(halves)};
  }
};

PLIMSOLL_BF16 void pack_a(const char* const* rows, DType, int64_t d, void* blocks, int64_t block_stride) {
  auto* block = static_cast<char*>(blocks);
  for (int64_t first = 0; first < d; first += kAttentionBlock, block += block_stride)
    for (int64_t r = 0; r < kAttentionBlock; ++r)
      _mm512_store_si512(block + r * kRowBytes, load_row(rows[r], first, d));
}

PLIMSOLL_BF16 void pack_b(const char* const* rows, DType, int64_t d, void* blocks, int64_t block_stride) {
  const Interleave order = Interleave::indices();
  auto* block = static_cast<char*>(blocks);
  for (int64_t first = 0; first < d; first += kAttentionBlock, block += block_stride)
    for (int64_t pair = 0; pair < 16; ++pair) {
      const __m512i x = load_row(rows[2 * pair], first, d), y = load_row(rows[2 * pair + 1], first, d);
      _mm512_store_si512(block + pair * kRowBytes, _mm512_permutex2var_epi16(x, order.low, y));
      _mm512_store_si512(block + kHalfBytes + pair * kRowBytes, _mm512_permutex2var_epi16(x, order.high, y));
    }
}

PLIMSOLL_BF16 void pack_a_transposed(const char* const* rows, DType, int64_t d, void* blocks, int64_t block_stride) {
  const Interleave order = Interleave::indices();
  auto* block = static_cast<char*>(blocks);
  for (int64_t first = 0; first < d; first += kAttentionBlock, block += block_stride) {
    __m512i low[16], high[16];
    for (int64_t pair = 0; pair < 16; ++pair) {
      const __m512i x = load_row(rows[2 * pair], first, d), y = load_row(rows[2 * pair + 1], first, d);
      low[pair] = _mm512_permutex2var_epi16(x, order.low, y);
      high[pair] = _mm512_permutex2var_epi16(x, order.high, y);
    }
    transpose_16x16(low);
    transpose_16x16(high);
    for (int64_t i = 0; i < 16; ++i) {
      _mm512_store_si512(block + i * kRowBytes, low[i]);
      _mm512_store_si512(block + kHalfBytes + i * kRowBytes, high[i]);
    }
  }
}

PLIMSOLL_BF16 void pack_b_transposed(const char* const* rows, DType, int64_t d, void* blocks, int64_t block_stride) {
  auto* block = static_cast<char*>(blocks);
  for (int64_t first = 0; first < d; first += kAttentionBlock, block += block_stride)
    for (int64_t half = 0; half < 2; ++half) {
      __m512i columns[16];
      for (int64_t c = 0; c < 16; ++c) columns[c] = load_row(rows[half * 16 + c], first, d);
      transpose_16x16(columns);
      for (int64_t i = 0; i < 16; ++i) _mm512_store_si512(block + half * kHalfBytes + i * kRowBytes, columns[i]);
    }
}

// --- matrix products
// --------------------------------------------------------------------------------------------------

PLIMSOLL_BF16 void gemm_dot(const AttentionGemm& g) {
  constexpr int kRows = 8;
  for (int64_t row = 0; row < g.rows; ++row)
    for (int64_t col = 0; col < g.cols; ++col)
      for (int64_t r0 = 0; r0 < kAttentionBlock; r0 += kRows) {
        float* c = g.c + (row * g.c_row + col * g.c_col) / 4 + r0 * kAttentionBlock;
        const char* a = static_cast<const char*>(g.a) + row * g.a_row + r0 * kRowBytes;
        const char* b = static_cast<const char*>(g.b) + col * g.b_col;
        __m512 sums[kRows][2];
        for (int r = 0; r < kRows; ++r)
          for (int half = 0; half < 2; ++half)
            sums[r][half] = g.accumulate ? _mm512_load_ps(c + r * kAttentionBlock + half * 16) : _mm512_setzero_ps();
        for (int64_t block = 0; block < g.depth; ++block, a += g.a_depth, b += g.b_depth)
          for (int64_t pair = 0; pair < 16; ++pair) {
            const __m512bh low = as_bf16(_mm512_load_si512(b + pair * kRowBytes));
            const __m512bh high = as_bf16(_mm512_load_si512(b + kHalfBytes + pair * kRowBytes));
            for (int r = 0; r < kRows; ++r) {
              const __m512bh value =
                  as_bf16(_mm512_set1_epi32(*reinterpret_cast<const int32_t*>(a + r * kRowBytes + pair * 4)));
              sums[r][0] = _mm512_dpbf16_ps(sums[r][0], value, low);
              sums[r][1] = _mm512_dpbf16_ps(sums[r][1], value, high);
            }
          }
        for (int r = 0; r < kRows; ++r)
          for (int half = 0; half < 2; ++half) _mm512_store_ps(c + r * kAttentionBlock + half * 16, sums[r][half]);
      }
}

// Tiles 0-3: the four quarters of a C block; 4, 5: halves of an A block; 6, 7: halves of a B block.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);
constexpr TileConfig kTiles;

PLIMSOLL_AMX void begin_amx() { _tile_loadconfig(&kTiles); }
PLIMSOLL_AMX void end_amx() { _tile_release(); }
void nothing() {}

// One column of C blocks over a depth of two (head_dim up to 64), the scores' case: B stays in tiles 4-7.
PLIMSOLL_AMX void gemm_amx_narrow(const AttentionGemm& g) {
  constexpr int64_t kC = 2 * kRowBytes;
  const char* b = static_cast<const char*>(g.b);
  _tile_loadd(4, b, kRowBytes);
  _tile_loadd(5, b + kHalfBytes, kRowBytes);
  _tile_loadd(6, b + g.b_depth, kRowBytes);
  _tile_loadd(7, b + g.b_depth + kHalfBytes, kRowBytes);
  for (int64_t row = 0; row < g.rows; ++row) {
    char* c = reinterpret_cast<char*>(g.c) + row * g.c_row;
    const char* a = static_cast<const char*>(g.a) + row * g.a_row;
    for (int64_t half = 0; half < 2; ++half, a += kHalfBytes, c += 16 * kC) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_loadd(2, a, kRowBytes);
      _tile_dpbf16ps(0, 2, 4);
      _tile_dpbf16ps(1, 2, 5);
      _tile_loadd(3, a + g.a_depth, kRowBytes);
      _tile_dpbf16ps(0, 3, 6);
      _tile_dpbf16ps(1, 3, 7);
      _tile_stored(0, c, kC);
      _tile_stored(1, c + kRowBytes, kC);
    }
  }
}

PLIMSOLL_AMX void gemm_amx(const AttentionGemm& g) {
  constexpr int64_t kC = 2 * kRowBytes;  // bytes of a row of C
  asm volatile("" ::: "memory");         // the tile intrinsics of GCC don't say that they touch memory
  if (g.cols == 1 && g.depth == 2 && !g.accumulate) {
    gemm_amx_narrow(g);
    asm volatile("" ::: "memory");
    return;
  }
  for (int64_t row = 0; row < g.rows; ++row)
    for (int64_t col = 0; col < g.cols; ++col) {
      char* c = reinterpret_cast<char*>(g.c) + row * g.c_row + col * g.c_col;
      const char* a = static_cast<const char*>(g.a) + row * g.a_row;
      const char* b = static_cast<const char*>(g.b) + col * g.b_col;
      if (g.accumulate) {
        _tile_loadd(0, c, kC);
        _tile_loadd(1, c + kRowBytes, kC);
        _tile_loadd(2, c + 16 * kC, kC);
        _tile_loadd(3, c + 16 * kC + kRowBytes, kC);
      } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
      }
      for (int64_t block = 0; block < g.depth; ++block, a += g.a_depth, b += g.b_depth) {
        _tile_loadd(6, b, kRowBytes);
        _tile_loadd(4, a, kRowBytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + kHalfBytes, kRowBytes);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + kHalfBytes, kRowBytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      _tile_stored(0, c, kC);
      _tile_stored(1, c + kRowBytes, kC);
      _tile_stored(2, c + 16 * kC, kC);
      _tile_stored(3, c + 16 * kC + kRowBytes, kC);
    }
  asm volatile("" ::: "memory");
}

// --- softmax
// ----------------------------------------------------------------------------------------------------------

// 2^x for x <= about 0, never below 2^-126. Relative error 4e-6, far below the rounding of bf16 that follows.
PLIMSOLL_BF16_INLINE __m512 exp2(__m512 x) {
  const __m512 magic = _mm512_set1_ps(12582912.0F);  // 1.5 * 2^23: the integer lands in the low bits
  x = _mm512_max_ps(x, _mm512_set1_ps(-126.0F));
  const __m512 shifted = _mm512_add_ps(x, magic);
  const __m512 r = _mm512_sub_ps(x, _mm512_sub_ps(shifted, magic));
  __m512 y = _mm512_set1_ps(0.009666368515F);
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(0.05592197584F));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(0.2402234904F));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(0.6931210452F));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.0F));
  return _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(y), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
}

struct MaskColumns {
  __m512i lo, hi, segment;
  PLIMSOLL_BF16_INLINE void load(const AttentionPanelMask& mask, int64_t column) {
    lo = _mm512_loadu_si512(mask.lo + column);
    hi = _mm512_loadu_si512(mask.hi + column);
    segment = _mm512_loadu_si512(mask.query_segment + column);
  }
  PLIMSOLL_BF16_INLINE __mmask16 allows(const AttentionPanelMask& mask, int64_t row) const {
    const __m512i key = _mm512_set1_epi32(mask.first_key + static_cast<int32_t>(row));
    const __mmask16 same = _mm512_cmpeq_epi32_mask(segment, _mm512_set1_epi32(mask.key_segment[row]));
    return _mm512_mask_cmple_epi32_mask(_mm512_mask_cmple_epi32_mask(same, lo, key), key, hi);
  }
};

template <bool kMasked>
PLIMSOLL_BF16_INLINE void highest_of_strip(const AttentionPanelMask& mask, const MaskColumns& columns, int64_t first,
                                           const float* s, __m512* highest) {
  for (int64_t row = first; row < first + kAttentionBlock; row += 4)
    for (int64_t i = 0; i < 4; ++i) {
      const __m512 value = _mm512_load_ps(s + (row + i) * kAttentionBlock);
      if constexpr (kMasked)
        highest[i] = _mm512_mask_max_ps(highest[i], columns.allows(mask, row + i), highest[i], value);
      else highest[i] = _mm512_max_ps(highest[i], value);
    }
}

// Writes the strip's half of a B block of P^T.
template <bool kMasked>
PLIMSOLL_BF16_INLINE void exp_of_strip(const AttentionPanelMask& mask, const MaskColumns& columns, int64_t first,
                                       const float* s, __m512 scale, __m512 maximum, __m512i order, char* to,
                                       __m512* sums) {
  for (int64_t row = first; row < first + kAttentionBlock; row += 2, to += kRowBytes) {
    __m512 p[2];
    for (int64_t i = 0; i < 2; ++i) {
      p[i] = exp2(_mm512_fmsub_ps(_mm512_load_ps(s + (row + i) * kAttentionBlock), scale, maximum));
      if constexpr (kMasked) p[i] = _mm512_maskz_mov_ps(columns.allows(mask, row + i), p[i]);
      sums[i] = _mm512_add_ps(sums[i], p[i]);
    }
    _mm512_store_si512(to, _mm512_permutexvar_epi16(order, as_bits(_mm512_cvtne2ps_pbh(p[1], p[0]))));
  }
}

PLIMSOLL_BF16 bool softmax(const AttentionSoftmax& a) {
  const __m512 scale = _mm512_set1_ps(a.scale2), none = _mm512_set1_ps(kNoScore), one = _mm512_set1_ps(1.0F);
  const __m512i order = Interleave::indices().halves;
  const uint32_t masked = a.mask->masked_strips;
  bool rescaled = false;
  for (int64_t half = 0; half < 2; ++half) {
    const float* s = a.s + half * 16;
    MaskColumns columns;
    columns.load(*a.mask, half * 16);
    __m512 highest[4] = {none, none, none, none};
    for (int64_t strip = 0; strip < a.strips; ++strip)
      if (masked >> strip & 1) highest_of_strip<true>(*a.mask, columns, strip * kAttentionBlock, s, highest);
      else highest_of_strip<false>(*a.mask, columns, strip * kAttentionBlock, s, highest);
    const __m512 block = _mm512_max_ps(_mm512_max_ps(highest[0], highest[1]), _mm512_max_ps(highest[2], highest[3]));
    const __m512 before = _mm512_load_ps(a.maximum + half * 16);
    // scale2 * kNoScore may be above kNoScore: only a real score may raise the maximum.
    const __m512 scaled = _mm512_mask_mul_ps(block, _mm512_cmpneq_ps_mask(block, none), block, scale);
    const __m512 maximum = _mm512_max_ps(before, scaled);
    const __m512 rescale =
        _mm512_mask_mov_ps(exp2(_mm512_sub_ps(before, maximum)), _mm512_cmpeq_ps_mask(before, maximum), one);
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int64_t strip = 0; strip < a.strips; ++strip) {
      char* to = static_cast<char*>(a.p) + strip * (2 * kHalfBytes) + half * kHalfBytes;
      if (masked >> strip & 1)
        exp_of_strip<true>(*a.mask, columns, strip * kAttentionBlock, s, scale, maximum, order, to, sums);
      else exp_of_strip<false>(*a.mask, columns, strip * kAttentionBlock, s, scale, maximum, order, to, sums);
    }
    const __m512 sum = _mm512_add_ps(sums[0], sums[1]);
    _mm512_store_ps(a.sum + half * 16, _mm512_fmadd_ps(_mm512_load_ps(a.sum + half * 16), rescale, sum));
    _mm512_store_ps(a.maximum + half * 16, maximum);
    _mm512_store_ps(a.rescale + half * 16, rescale);
    rescaled |= _mm512_cmpneq_ps_mask(rescale, one) != 0;
  }
  return rescaled;
}

template <bool kMasked, bool kCapped>
PLIMSOLL_BF16_INLINE void gradient_of_strip(const AttentionSoftmaxGradient& a, const Interleave& order, int64_t strip) {
  const __m512 scale = _mm512_set1_ps(a.scale2), one = _mm512_set1_ps(1.0F);
  const __m512 inverse_cap = _mm512_set1_ps(a.inverse_softcap);
  MaskColumns columns[2];
  __m512 lse2[2], delta[2];
  for (int64_t half = 0; half < 2; ++half) {
    if constexpr (kMasked) columns[half].load(*a.mask, half * 16);
    lse2[half] = _mm512_load_ps(a.lse2 + half * 16);
    delta[half] = _mm512_load_ps(a.delta + half * 16);
  }
  char* p_row = static_cast<char*>(a.p_a) + strip * a.strip_stride;
  char* ds_row = static_cast<char*>(a.ds_a) + strip * a.strip_stride;
  char* ds_pair = static_cast<char*>(a.ds_b) + strip * (2 * kHalfBytes);
  for (int64_t r = 0; r < kAttentionBlock; r += 2, ds_pair += kRowBytes) {
    __m512i ds_bits[2];
    for (int64_t i = 0; i < 2; ++i, p_row += kRowBytes, ds_row += kRowBytes) {
      const int64_t row = strip * kAttentionBlock + r + i;
      __m512 p[2], ds[2];
      for (int64_t half = 0; half < 2; ++half) {
        const __m512 score = _mm512_load_ps(a.s + row * kAttentionBlock + half * 16);
        p[half] = exp2(_mm512_fmsub_ps(score, scale, lse2[half]));
        if constexpr (kMasked) p[half] = _mm512_maskz_mov_ps(columns[half].allows(*a.mask, row), p[half]);
        const __m512 dp = _mm512_load_ps(a.dp + row * kAttentionBlock + half * 16);
        ds[half] = _mm512_mul_ps(p[half], _mm512_sub_ps(dp, delta[half]));
        if constexpr (kCapped) {
          const __m512 t = _mm512_mul_ps(score, inverse_cap);
          ds[half] = _mm512_mul_ps(ds[half], _mm512_fnmadd_ps(t, t, one));
        }
      }
      _mm512_store_si512(p_row, as_bits(_mm512_cvtne2ps_pbh(p[1], p[0])));
      ds_bits[i] = as_bits(_mm512_cvtne2ps_pbh(ds[1], ds[0]));
      _mm512_store_si512(ds_row, ds_bits[i]);
    }
    _mm512_store_si512(ds_pair, _mm512_permutex2var_epi16(ds_bits[0], order.low, ds_bits[1]));
    _mm512_store_si512(ds_pair + kHalfBytes, _mm512_permutex2var_epi16(ds_bits[0], order.high, ds_bits[1]));
  }
}

PLIMSOLL_BF16 void softmax_gradient(const AttentionSoftmaxGradient& a) {
  const Interleave order = Interleave::indices();
  const bool capped = a.inverse_softcap != 0.0F;
  for (int64_t strip = 0; strip < a.strips; ++strip)
    if (a.mask->masked_strips >> strip & 1)
      capped ? gradient_of_strip<true, true>(a, order, strip) : gradient_of_strip<true, false>(a, order, strip);
    else capped ? gradient_of_strip<false, true>(a, order, strip) : gradient_of_strip<false, false>(a, order, strip);
}

// --- results
// ----------------------------------------------------------------------------------------------------------

PLIMSOLL_BF16 void write_transposed(const float* c_blocks, const float* factors, char* const* rows, DType, int64_t d) {
  for (int64_t first = 0; first < d; first += 16) {
    const float* c = c_blocks + first * kAttentionBlock;
    const int64_t width = std::min<int64_t>(16, d - first);
    const auto mask = static_cast<__mmask16>((uint32_t{1} << width) - 1);
    for (int64_t half = 0; half < 2; ++half) {
      const __m512 factor = _mm512_load_ps(factors + half * 16);
      __m512i values[16];
      for (int64_t i = 0; i < 16; ++i)
        values[i] = _mm512_castps_si512(_mm512_mul_ps(_mm512_load_ps(c + i * kAttentionBlock + half * 16), factor));
      transpose_16x16(values);
      for (int64_t i = 0; i < 16; ++i) {
        char* row = rows[half * 16 + i];
        if (row == nullptr) continue;
        const __m256bh narrow = _mm512_cvtneps_pbh(_mm512_castsi512_ps(values[i]));
        _mm256_mask_storeu_epi16(row + first * 2, mask, reinterpret_cast<const __m256i&>(narrow));
      }
    }
  }
}

PLIMSOLL_BF16 void write_rows(const float* c_blocks, float factor, char* const* rows, DType, int64_t d) {
  const __m512 factors = _mm512_set1_ps(factor);
  for (int64_t first = 0; first < d; first += kAttentionBlock, c_blocks += kAttentionBlock * kAttentionBlock) {
    const int64_t width = std::min(d - first, kAttentionBlock);
    const auto mask = static_cast<__mmask32>((uint64_t{1} << width) - 1);
    for (int64_t r = 0; r < kAttentionBlock; ++r) {
      if (rows[r] == nullptr) continue;
      const __m512 low = _mm512_mul_ps(_mm512_load_ps(c_blocks + r * kAttentionBlock), factors);
      const __m512 high = _mm512_mul_ps(_mm512_load_ps(c_blocks + r * kAttentionBlock + 16), factors);
      _mm512_mask_storeu_epi16(rows[r] + first * 2, mask, as_bits(_mm512_cvtne2ps_pbh(high, low)));
    }
  }
}

AttentionKernels make_table(bool amx) {
  AttentionKernels table = f32_attention_kernels();  // for what is no inner loop
  table.element_bytes = 2;
  table.begin_tile = amx ? begin_amx : nothing;
  table.end_tile = amx ? end_amx : nothing;
  table.pack_a = pack_a;
  table.pack_b = pack_b;
  table.pack_a_transposed = pack_a_transposed;
  table.pack_b_transposed = pack_b_transposed;
  table.gemm = amx ? gemm_amx : gemm_dot;
  table.softmax = softmax;
  table.softmax_gradient = softmax_gradient;
  table.write_transposed = write_transposed;
  table.write_rows = write_rows;
  return table;
}

}  // namespace

const AttentionKernels* bf16_dot_attention_kernels() {
  static const AttentionKernels table = make_table(false);
  return may_use_avx512_bf16() ? &table : nullptr;
}

const AttentionKernels* bf16_amx_attention_kernels() {
  static const bool usable = bf16_dot_attention_kernels() != nullptr && may_use_amx();
  static const AttentionKernels table = make_table(true);
  return usable ? &table : nullptr;
}

}  // namespace plimsoll::cpu
