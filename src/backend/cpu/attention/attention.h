// Scaled dot-product attention for training and generation that never forms the (T, T) matrix of scores: keys are
// walked in blocks with a running maximum and sum (Dao et al. 2022, arXiv:2205.14135; Dao 2023, arXiv:2307.08691).
//
// Query i of a batch row stands at absolute position a = i + q_offset among the keys and sees key j iff
//   j <= a,  a - j < window (when window > 0),  segment_ids[j] == segment_ids[a] >= 0 and j >= segment_start[a].
// A query whose segment id is negative (padding) gives zeros and takes no part in any gradient; a key with a negative
// id is seen by nobody, whatever its bytes are.
//
// Threads: tiles depend on the shape only, and every sum has a fixed order, so results are the same bits for any number
// of threads. Nothing is allocated; the caller owns every pointer. Different instruction sets may differ in rounding:
// bf16 tensors go through AMX or AVX512-BF16 where the CPU has them (products of bf16, sums in f32, probabilities and
// their gradients rounded to bf16 before the second products), and are widened to f32 elsewhere.
// ONEDNN_MAX_CPU_ISA takes instructions away here as it does in oneDNN.
#pragma once

#include <cstdint>
#include <optional>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

// Rows are tokens with their heads side by side: q is (batch, q_len, heads * head_dim), k and v are
// (batch, kv_len, kv_heads * head_dim), with value_dim for v and out. Strides are elements from one token to the next;
// batch rows follow each other at q_len (kv_len) times that stride. Query head h reads key head h / (heads / kv_heads).
struct AttentionShape {
  int64_t batch = 1, q_len = 0, kv_len = 0, heads = 1, kv_heads = 1, head_dim = 0;
  int64_t value_dim = 0;  // of a head of v and out; 0: head_dim
  int64_t q_row_stride = 0, k_row_stride = 0, v_row_stride = 0, out_row_stride = 0;
  int64_t q_offset = 0;      // position of query 0 among the keys: 0 in training, the past length with a KV cache
  int64_t window = 0;        // 0: none
  float scale = 1.0F;        // > 0
  float softcap = 0.0F;      // 0: none; else score = softcap * tanh(q.k * scale / softcap)
  DType dtype = DType::f32;  // of every tensor but lse: f32 or bf16
  // Of k and v, where it is another; only for a single query (kv_cache.h). Heads are whole blocks, side by side.
  std::optional<DType> cache;
  // Heads inside a row of q (dq), k, v (dk, dv), where those are parts of a fused projection. 0: side by side.
  int64_t q_group_stride = 0;  // from the first query head of a key head to the first of the next
  int64_t kv_head_stride = 0;  // from a key (value) head to the next
  // Linear biases (Press et al. 2021, arXiv:2108.12409): score += alibi_factor * slope(head) * (j - a), not with a
  // softcap. 0: none. alibi_bf16: slope and slope * (position of j in its segment) are rounded to bf16.
  float alibi_factor = 0.0F;
  bool alibi_bf16 = false;

  int64_t group_stride() const { return q_group_stride > 0 ? q_group_stride : heads / kv_heads * head_dim; }
  int64_t head_stride() const { return kv_head_stride > 0 ? kv_head_stride : head_dim; }

  DType kv_dtype() const { return cache.value_or(dtype); }
  int64_t values() const { return value_dim > 0 ? value_dim : head_dim; }
  int64_t value_stride() const { return kv_head_stride > 0 ? kv_head_stride : values(); }
};

// Bytes of the workspace (64-byte aligned) that a call with at most `threads` threads needs. Exact, and cheap to ask.
int64_t attention_workspace_bytes(const AttentionShape& shape, bool backward, int threads);

// segment_ids, segment_start: (batch, kv_len), or both null (plain causal). segment_start may be null alone.
// out may not overlap q, k, v or the workspace.
// out: like q with out_row_stride. lse: (batch, heads, q_len) log-sum-exp of the scores, 0 for padding; may be null.
// sinks: (heads) of `dtype`, or null: a further score of each query that takes its share and has no value.
void attention_forward(ThreadPool& pool, const AttentionShape& shape, const void* q, const void* k, const void* v,
                       const int32_t* segment_ids, const int32_t* segment_start, void* out, float* lse, void* workspace,
                       const void* sinks = nullptr);

// d_sinks (heads) += their gradient, from what forward gave and dout; sums in the order of the rows.
void attention_sink_backward(ThreadPool& pool, const AttentionShape& shape, const void* dout, const void* out,
                             const float* lse, const void* sinks, float* d_sinks);

// out and lse are what forward gave; dout is laid out as out. dq, dk, dv have the strides of q, k, v and are written
// (not added to) in full. No result may overlap an input, save that dq, dk, dv may share one buffer of fused rows.
void attention_backward(ThreadPool& pool, const AttentionShape& shape, const void* dout, const void* q, const void* k,
                        const void* v, const void* out, const float* lse, const int32_t* segment_ids,
                        const int32_t* segment_start, void* dq, void* dk, void* dv, void* workspace);

}  // namespace plimsoll::cpu
