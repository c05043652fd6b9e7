// Attention kernels on f32 blocks with Highway, for any CPU; the tensors may be f32 or bf16.
#include <algorithm>

#include "backend/cpu/attention/attention_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention/attention_f32.cpp"
// foreach_target comes first: it includes this file again for each target.
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
#include "backend/cpu/attention/attention_math-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rounds to nearest even; a NaN stays a (quiet) NaN.
HWY_INLINE void store_bf16(VF value, uint16_t* to) {
  const DI di;
  const auto bits = hn::BitCast(hn::RebindToUnsigned<DF>(), value);
  const hn::RebindToUnsigned<DF> du;
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1U));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fffU)));
  const auto quiet = hn::Or(bits, hn::Set(du, 0x400000U));
  const auto is_nan = hn::RebindMask(du, hn::Ne(value, value));
  const auto upper = hn::ShiftRight<16>(hn::IfThenElse(is_nan, quiet, rounded));
  hn::StoreU(hn::DemoteTo(DU16(), hn::BitCast(di, upper)), DU16(), to);
}

// Elements of a tensor row to f32, `d` of them.
HWY_ATTR void read_row(const void* row, DType dtype, int64_t d, float* to) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(DF()));
  int64_t i = 0;
  if (dtype == DType::bf16) {
    const auto* from = static_cast<const uint16_t*>(row);
    for (; i + lanes <= d; i += lanes) hn::StoreU(load_bf16(from + i), DF(), to + i);
    for (; i < d; ++i) to[i] = bf16_to_f32(from[i]);
    return;
  }
  const auto* from = static_cast<const float*>(row);
  for (; i + lanes <= d; i += lanes) hn::StoreU(hn::LoadU(DF(), from + i), DF(), to + i);
  for (; i < d; ++i) to[i] = from[i];
}

HWY_ATTR void write_row(const float* from, float factor, DType dtype, int64_t d, void* row) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(DF()));
  const VF factors = hn::Set(DF(), factor);
  int64_t i = 0;
  if (dtype == DType::bf16) {
    auto* to = static_cast<uint16_t*>(row);
    for (; i + lanes <= d; i += lanes) store_bf16(hn::Mul(hn::LoadU(DF(), from + i), factors), to + i);
    for (; i < d; ++i) to[i] = f32_to_bf16(from[i] * factor);
    return;
  }
  auto* to = static_cast<float*>(row);
  for (; i + lanes <= d; i += lanes) hn::StoreU(hn::Mul(hn::LoadU(DF(), from + i), factors), DF(), to + i);
  for (; i < d; ++i) to[i] = from[i] * factor;
}

HWY_INLINE float* block_at(void* blocks, int64_t index, int64_t stride) {
  return reinterpret_cast<float*>(static_cast<char*>(blocks) + index * stride);
}

HWY_ATTR void pack_rows(const char* const* rows, DType dtype, int64_t d, void* blocks, int64_t block_stride) {
  for (int64_t first = 0, index = 0; first < d; first += kAttentionBlock, ++index) {
    float* block = block_at(blocks, index, block_stride);
    const int64_t width = std::min(d - first, kAttentionBlock);
    for (int64_t r = 0; r < kAttentionBlock; ++r, block += kAttentionBlock) {
      const char* row = rows[r];
      const int64_t filled = row == nullptr ? 0 : width;
      if (row != nullptr) read_row(row + first * (dtype == DType::bf16 ? 2 : 4), dtype, width, block);
      std::fill(block + filled, block + kAttentionBlock, 0.0F);
    }
  }
}

HWY_ATTR void pack_transposed(const char* const* rows, DType dtype, int64_t d, void* blocks, int64_t block_stride) {
  HWY_ALIGN float row_values[kAttentionBlock];
  for (int64_t first = 0, index = 0; first < d; first += kAttentionBlock, ++index) {
    float* block = block_at(blocks, index, block_stride);
    const int64_t width = std::min(d - first, kAttentionBlock);
    for (int64_t r = 0; r < kAttentionBlock; ++r) {
      const char* row = rows[r];
      const int64_t filled = row == nullptr ? 0 : width;
      if (row != nullptr) read_row(row + first * (dtype == DType::bf16 ? 2 : 4), dtype, width, row_values);
      for (int64_t i = 0; i < filled; ++i) block[i * kAttentionBlock + r] = row_values[i];
      for (int64_t i = filled; i < kAttentionBlock; ++i) block[i * kAttentionBlock + r] = 0.0F;
    }
  }
}

// kRows rows of a C block, two vectors wide, over the whole depth.
template <int kRows>
HWY_INLINE void gemm_strip(const AttentionGemm& g, float* c, const char* a, const char* b) {
  const DF df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  VF sums[kRows][2];
  for (int r = 0; r < kRows; ++r)
    for (int half = 0; half < 2; ++half)
      sums[r][half] = g.accumulate ? hn::Load(df, c + r * kAttentionBlock + half * lanes) : hn::Zero(df);
  for (int64_t block = 0; block < g.depth; ++block) {
    const auto* a_row = reinterpret_cast<const float*>(a + block * g.a_depth);
    const auto* b_row = reinterpret_cast<const float*>(b + block * g.b_depth);
    for (int64_t k = 0; k < kAttentionBlock; ++k, ++a_row, b_row += kAttentionBlock) {
      const VF b0 = hn::Load(df, b_row), b1 = hn::Load(df, b_row + lanes);
      for (int r = 0; r < kRows; ++r) {
        const VF value = hn::Set(df, a_row[r * kAttentionBlock]);
        sums[r][0] = hn::MulAdd(value, b0, sums[r][0]);
        sums[r][1] = hn::MulAdd(value, b1, sums[r][1]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int half = 0; half < 2; ++half) hn::Store(sums[r][half], df, c + r * kAttentionBlock + half * lanes);
}

HWY_ATTR void gemm(const AttentionGemm& g) {
  constexpr int kRows = HWY_MAX_BYTES >= 64 ? 8 : 4;
  const int64_t width = 2 * static_cast<int64_t>(hn::Lanes(DF()));
  for (int64_t row = 0; row < g.rows; ++row)
    for (int64_t col = 0; col < g.cols; ++col) {
      float* c = g.c + (row * g.c_row + col * g.c_col) / 4;
      const char* a = static_cast<const char*>(g.a) + row * g.a_row;
      const char* b = static_cast<const char*>(g.b) + col * g.b_col;
      for (int64_t r = 0; r < kAttentionBlock; r += kRows)
        for (int64_t x = 0; x < kAttentionBlock; x += width)
          gemm_strip<kRows>(g, c + r * kAttentionBlock + x, a + r * kAttentionBlock * 4, b + x * 4);
    }
}

HWY_ATTR void softcap(float* s, int64_t strips, float scale, float cap) {
  const DF df;
  const VF factor = hn::Set(df, scale / cap), caps = hn::Set(df, cap);
  for (int64_t i = 0; i < strips * kAttentionBlock * kAttentionBlock; i += static_cast<int64_t>(hn::Lanes(df)))
    hn::Store(hn::Mul(caps, tanh(hn::Mul(hn::Load(df, s + i), factor))), df, s + i);
}

HWY_ATTR void alibi(const AttentionAlibi& a) {
  const DF df;
  const VF scale = hn::Set(df, a.scale), slope = hn::Set(df, a.slope);
  for (int64_t column = 0; column < kAttentionBlock; column += static_cast<int64_t>(hn::Lanes(df))) {
    const VF query = hn::LoadU(df, a.query_position + column);
    float* s = a.s + column;
    for (int64_t row = 0; row < a.strips * kAttentionBlock; ++row, s += kAttentionBlock) {
      const VF distance = hn::Sub(hn::Set(df, a.key_position[row]), query);
      const VF bias = hn::MulAdd(slope, distance, hn::Set(df, a.key_rounding[row]));
      hn::Store(hn::MulAdd(hn::Load(df, s), scale, bias), df, s);
    }
  }
}

// The columns of a mask that one vector covers.
struct MaskColumns {
  hn::Vec<DI> lo, hi, segment;
  HWY_INLINE MaskColumns(const AttentionPanelMask& mask, int64_t column)
      : lo(hn::LoadU(DI(), mask.lo + column)),
        hi(hn::LoadU(DI(), mask.hi + column)),
        segment(hn::LoadU(DI(), mask.query_segment + column)) {}
  HWY_INLINE hn::Mask<DF> allows(const AttentionPanelMask& mask, int64_t row) const {
    const DI di;
    const auto key = hn::Set(di, mask.first_key + static_cast<int32_t>(row));
    const auto same = hn::Eq(segment, hn::Set(di, mask.key_segment[row]));
    const auto seen = hn::AndNot(hn::Gt(lo, key), hn::AndNot(hn::Gt(key, hi), same));
    return hn::RebindMask(DF(), seen);
  }
};

template <bool kMasked>
HWY_INLINE VF highest_of_strip(const AttentionSoftmax& a, const MaskColumns& columns, int64_t first, const float* s,
                               VF highest) {
  const DF df;
  for (int64_t row = first; row < first + kAttentionBlock; ++row) {
    VF value = hn::Load(df, s + row * kAttentionBlock);
    if constexpr (kMasked) value = hn::IfThenElse(columns.allows(*a.mask, row), value, hn::Set(df, kNoScore));
    highest = hn::Max(highest, value);
  }
  return highest;
}

template <bool kMasked>
HWY_INLINE VF exp_of_strip(const AttentionSoftmax& a, const MaskColumns& columns, int64_t first, float* s, VF maximum,
                           VF sum) {
  const DF df;
  const VF scale = hn::Set(df, a.scale2);
  for (int64_t row = first; row < first + kAttentionBlock; ++row) {
    VF p = exp2(hn::MulSub(hn::Load(df, s + row * kAttentionBlock), scale, maximum));
    if constexpr (kMasked) p = hn::IfThenElseZero(columns.allows(*a.mask, row), p);
    sum = hn::Add(sum, p);
    hn::Store(p, df, s + row * kAttentionBlock);
  }
  return sum;
}

HWY_ATTR bool softmax(const AttentionSoftmax& a) {
  const DF df;
  const VF one = hn::Set(df, 1.0F), none = hn::Set(df, kNoScore);
  bool rescaled = false;
  for (int64_t column = 0; column < kAttentionBlock; column += static_cast<int64_t>(hn::Lanes(df))) {
    float* s = a.s + column;
    const MaskColumns columns(*a.mask, column);
    VF highest = none;
    for (int64_t strip = 0; strip < a.strips; ++strip)
      highest = a.mask->masked_strips >> strip & 1
                    ? highest_of_strip<true>(a, columns, strip * kAttentionBlock, s, highest)
                    : highest_of_strip<false>(a, columns, strip * kAttentionBlock, s, highest);
    const VF before = hn::Load(df, a.maximum + column);
    // scale2 * kNoScore may be above kNoScore: only a real score may raise the maximum.
    const VF scaled = hn::IfThenElse(hn::Eq(highest, none), none, hn::Mul(highest, hn::Set(df, a.scale2)));
    const VF maximum = hn::Max(before, scaled);
    const VF rescale = hn::IfThenElse(hn::Eq(before, maximum), one, exp2(hn::Sub(before, maximum)));
    VF sum = hn::Zero(df);
    for (int64_t strip = 0; strip < a.strips; ++strip)
      sum = a.mask->masked_strips >> strip & 1
                ? exp_of_strip<true>(a, columns, strip * kAttentionBlock, s, maximum, sum)
                : exp_of_strip<false>(a, columns, strip * kAttentionBlock, s, maximum, sum);
    hn::Store(hn::MulAdd(hn::Load(df, a.sum + column), rescale, sum), df, a.sum + column);
    hn::Store(maximum, df, a.maximum + column);
    hn::Store(rescale, df, a.rescale + column);
    rescaled |= !hn::AllTrue(df, hn::Eq(rescale, one));
  }
  return rescaled;
}

template <bool kMasked>
HWY_INLINE void gradient_of_strip(const AttentionSoftmaxGradient& a, int64_t column, int64_t strip) {
  const DF df;
  const VF scale = hn::Set(df, a.scale2), one = hn::Set(df, 1.0F), inverse_cap = hn::Set(df, a.inverse_softcap);
  const bool capped = a.inverse_softcap != 0.0F;
  const MaskColumns columns(*a.mask, column);
  const VF lse2 = hn::Load(df, a.lse2 + column), delta = hn::Load(df, a.delta + column);
  float* p_out = block_at(a.p_a, strip, a.strip_stride) + column;
  float* ds_out = block_at(a.ds_a, strip, a.strip_stride) + column;
  for (int64_t r = 0; r < kAttentionBlock; ++r) {
    const int64_t row = strip * kAttentionBlock + r;
    const VF score = hn::Load(df, a.s + row * kAttentionBlock + column);
    VF p = exp2(hn::MulSub(score, scale, lse2));
    if constexpr (kMasked) p = hn::IfThenElseZero(columns.allows(*a.mask, row), p);
    VF ds = hn::Mul(p, hn::Sub(hn::Load(df, a.dp + row * kAttentionBlock + column), delta));
    if (capped) {
      const VF t = hn::Mul(score, inverse_cap);
      ds = hn::Mul(ds, hn::NegMulAdd(t, t, one));
    }
    hn::Store(p, df, p_out + r * kAttentionBlock);
    hn::Store(ds, df, ds_out + r * kAttentionBlock);
  }
}

HWY_ATTR void softmax_gradient(const AttentionSoftmaxGradient& a) {
  for (int64_t strip = 0; strip < a.strips; ++strip)
    for (int64_t column = 0; column < kAttentionBlock; column += static_cast<int64_t>(hn::Lanes(DF())))
      if (a.mask->masked_strips >> strip & 1) gradient_of_strip<true>(a, column, strip);
      else gradient_of_strip<false>(a, column, strip);
}

HWY_ATTR void log_sums(const float* maximum, const float* sum, float* lse) {
  const DF df;
  for (int64_t column = 0; column < kAttentionBlock; column += static_cast<int64_t>(hn::Lanes(df)))
    hn::Store(hn::MulAdd(hn::Load(df, maximum + column), hn::Set(df, kLn2), hn::Log(df, hn::Load(df, sum + column))),
              df, lse + column);
}

HWY_ATTR void rescale_columns(float* c_blocks, int64_t blocks, const float* factors) {
  const DF df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  for (int64_t column = 0; column < kAttentionBlock; column += lanes) {
    const VF factor = hn::Load(df, factors + column);
    for (int64_t row = 0; row < blocks * kAttentionBlock; ++row) {
      float* c = c_blocks + row * kAttentionBlock + column;
      hn::Store(hn::Mul(hn::Load(df, c), factor), df, c);
    }
  }
}

HWY_ATTR float dot(const void* x, const void* y, DType dtype, int64_t d) {
  const DF df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  VF sum = hn::Zero(df);
  float tail = 0.0F;
  int64_t i = 0;
  if (dtype == DType::bf16) {
    const auto *a = static_cast<const uint16_t*>(x), *b = static_cast<const uint16_t*>(y);
    for (; i + lanes <= d; i += lanes) sum = hn::MulAdd(load_bf16(a + i), load_bf16(b + i), sum);
    for (; i < d; ++i) tail += bf16_to_f32(a[i]) * bf16_to_f32(b[i]);
  } else {
    const auto *a = static_cast<const float*>(x), *b = static_cast<const float*>(y);
    for (; i + lanes <= d; i += lanes) sum = hn::MulAdd(hn::LoadU(df, a + i), hn::LoadU(df, b + i), sum);
    for (; i < d; ++i) tail += a[i] * b[i];
  }
  return hn::GetLane(hn::SumOfLanes(df, sum)) + tail;
}

HWY_ATTR void write_transposed(const float* c_blocks, const float* factors, char* const* rows, DType dtype, int64_t d) {
  HWY_ALIGN float values[kAttentionBlock];
  for (int64_t first = 0; first < d; first += kAttentionBlock, c_blocks += kAttentionBlock * kAttentionBlock) {
    const int64_t width = std::min(d - first, kAttentionBlock);
    for (int64_t column = 0; column < kAttentionBlock; ++column) {
      if (rows[column] == nullptr) continue;
      for (int64_t i = 0; i < width; ++i) values[i] = c_blocks[i * kAttentionBlock + column];
      write_row(values, factors[column], dtype, width, rows[column] + first * (dtype == DType::bf16 ? 2 : 4));
    }
  }
}

HWY_ATTR void write_rows(const float* c_blocks, float factor, char* const* rows, DType dtype, int64_t d) {
  for (int64_t first = 0; first < d; first += kAttentionBlock, c_blocks += kAttentionBlock * kAttentionBlock) {
    const int64_t width = std::min(d - first, kAttentionBlock);
    for (int64_t r = 0; r < kAttentionBlock; ++r) {
      if (rows[r] == nullptr) continue;
      write_row(c_blocks + r * kAttentionBlock, factor, dtype, width, rows[r] + first * (dtype == DType::bf16 ? 2 : 4));
    }
  }
}

void nothing() {}

const AttentionKernels* kernels() {
  static constexpr AttentionKernels kTable = {
      4,    nothing,          nothing,   pack_rows, pack_rows,        pack_transposed, pack_transposed,
      gemm, softcap,          alibi,     softmax,   softmax_gradient, rescale_columns, log_sums,
      dot,  write_transposed, write_rows};
  return &kTable;
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(kernels);

const AttentionKernels& f32_attention_kernels() { return *HWY_DYNAMIC_DISPATCH(kernels)(); }

}  // namespace plimsoll::cpu
#endif
