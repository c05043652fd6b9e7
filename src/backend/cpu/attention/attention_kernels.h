// The inner loops of attention on packed 32x32 blocks, one table of them per instruction set. Internal to attention*.
//
// Scores are kept transposed, S^T = K Q^T: a row is a key, the 32 columns of a panel are queries. Maxima, sums and
// log-sum-exps then belong to columns, so softmax runs along vectors without a horizontal step, and the rows it writes
// are already the right-hand operand of O^T = V^T P^T.
//
// Blocks are contiguous and 64-byte aligned; a matrix is a grid of blocks with a byte stride per direction:
//   A block: 32 rows (m) of 32 depth elements (k).
//   B block: f32: 32 depth rows of 32 columns. bf16: two halves of 16 columns, each 16 rows of (k, k + 1) pairs.
//   C block: 32 rows of 32 f32.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace plimsoll::cpu {

inline constexpr int64_t kAttentionBlock = 32;  // rows and columns of a block, and queries of a panel
inline constexpr int64_t kAttentionBlockF32Bytes = kAttentionBlock * kAttentionBlock * 4;
inline constexpr float kLog2E = 1.44269504F;
inline constexpr float kLn2 = 0.693147181F;
inline constexpr float kNoScore = -1e30F;  // running maximum before the first key; finite, so differences are too

// Which keys the 32 queries of a panel see: key j when lo <= j <= hi and the segments agree.
struct AttentionPanelMask {
  const int32_t* lo;             // [32]; above every key for a query that sees none
  const int32_t* hi;             // [32]
  const int32_t* query_segment;  // [32]
  const int32_t* key_segment;    // one per row of S^T, from its first row on
  int32_t first_key;             // position of that row
  uint32_t masked_strips;        // bit i: the mask cuts into block i; the others are seen by all 32 queries
};

// C (rows, cols) = or += A (rows, depth) * B (depth, cols). Sizes in blocks, strides in bytes from block to block.
struct AttentionGemm {
  float* c;
  int64_t c_row, c_col;
  const void* a;
  int64_t a_row, a_depth;
  const void* b;
  int64_t b_depth, b_col;
  int64_t rows, cols, depth;
  bool accumulate;
};

// One key block of forward softmax for a panel, in place on its columns: score2 = S * scale2 (base-2 logarithms).
struct AttentionSoftmax {
  float* s;        // C blocks, consecutive; on f32 kernels it becomes P^T and p is not used
  void* p;         // B blocks of P^T, consecutive
  int64_t strips;  // blocks
  float scale2;
  float *maximum, *sum, *rescale;  // [32]: running maximum (base 2) and sum; rescale: what earlier sums are worth now
  const AttentionPanelMask* mask;
};

// P^T = 2^(S * scale2 - lse2), dS^T = P^T * (dP^T - delta) [* (1 - (S / softcap)^2)].
struct AttentionSoftmaxGradient {
  const float *s, *dp;  // C blocks, consecutive
  int64_t strips;
  float scale2, inverse_softcap;  // 0: no cap
  const float *lse2, *delta;      // [32]
  void *p_a, *ds_a;               // A blocks, strip_stride bytes apart
  int64_t strip_stride;
  void* ds_b;  // B blocks, consecutive; not used by f32 kernels, where A and B blocks are the same
  const AttentionPanelMask* mask;
};

// S = S * scale + slope * (key position - query position) + rounding of the key, over `strips` C blocks.
struct AttentionAlibi {
  float* s;
  int64_t strips;
  float scale, slope;
  const float* query_position;               // [32]
  const float *key_position, *key_rounding;  // one per row
};

struct AttentionKernels {
  int64_t element_bytes;  // of A and B blocks: 4 (f32) or 2 (bf16)

  void (*begin_tile)();  // around all other calls of a work tile on its thread
  void (*end_tile)();

  // 32 rows of `d` elements (null: a row of zeros), cut into ceil(d / 32) blocks, block_stride bytes apart,
  // zero-padded.
  using Pack = void (*)(const char* const* rows, DType dtype, int64_t d, void* blocks, int64_t block_stride);
  Pack pack_a;             // X as A: rows are m
  Pack pack_b;             // X as B: rows are k
  Pack pack_a_transposed;  // X^T as A: rows are k
  Pack pack_b_transposed;  // X^T as B: rows are columns

  void (*gemm)(const AttentionGemm& gemm);
  // s = softcap * tanh(s * scale / softcap) over `strips` C blocks.
  void (*softcap)(float* s, int64_t strips, float scale, float softcap);
  void (*alibi)(const AttentionAlibi& alibi);
  bool (*softmax)(const AttentionSoftmax& softmax);  // true when a rescale differs from 1
  void (*softmax_gradient)(const AttentionSoftmaxGradient& gradient);
  void (*rescale_columns)(float* c_blocks, int64_t blocks, const float* factors);  // factors[32]

  // lse[32] = maximum * ln 2 + ln(sum)
  void (*log_sums)(const float* maximum, const float* sum, float* lse);
  float (*dot)(const void* x, const void* y, DType dtype, int64_t d);
  // rows[column][i] = C^T: C is (d, 32) in consecutive blocks; factors[32] multiply columns. Null rows are left out.
  void (*write_transposed)(const float* c_blocks, const float* factors, char* const* rows, DType dtype, int64_t d);
  // rows[r][i] = C * factor: C is (32, d) in consecutive blocks. Null rows are left out.
  void (*write_rows)(const float* c_blocks, float factor, char* const* rows, DType dtype, int64_t d);
};

const AttentionKernels& f32_attention_kernels();  // f32 blocks, for f32 and bf16 tensors, on any CPU
// bf16 blocks for bf16 tensors: products by AVX512-BF16, and by AMX. Null where the CPU has not got it, and where
// ONEDNN_MAX_CPU_ISA forbids it.
const AttentionKernels* bf16_dot_attention_kernels();
const AttentionKernels* bf16_amx_attention_kernels();
// The fastest table for tensors of `dtype` on this CPU.
const AttentionKernels& attention_kernels(DType dtype);

}  // namespace plimsoll::cpu
