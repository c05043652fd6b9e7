// How attention cuts its work into blocks, and what a panel of queries may see. Internal to attention*.
#pragma once

#include <array>
#include <cstdint>

#include "backend/cpu/attention/attention.h"
#include "backend/cpu/attention/attention_kernels.h"

namespace plimsoll::cpu {

inline constexpr int64_t kMaxStrips = 4;      // 32-key blocks of a key block
inline constexpr int64_t kMaxPanelRows = 12;  // 32-query ranges of a query block

// A work tile takes `panel_rows` ranges of 32 queries for all heads of a group: panel = range * group + head in group.
struct AttentionBlocks {
  int64_t group;        // query heads that share a key head
  int64_t depth;        // blocks of 32 along head_dim
  int64_t value_depth;  // and along value_dim
  int64_t panel_rows;
  int64_t panels;         // panel_rows * group
  int64_t query_blocks;   // work tiles along q_len
  int64_t strips;         // 32-key blocks of a key block
  int64_t key_strips;     // 32-key blocks of the whole row
  int64_t block_bytes;    // of an A or B block
  int64_t element_bytes;  // of the tensors
};
AttentionBlocks attention_blocks(const AttentionShape& shape, const AttentionKernels& kernels);

// One batch row of segment ids; both null for plain causal attention.
struct AttentionSegments {
  const int32_t* ids;
  const int32_t* start;
};

// 32 consecutive queries of one batch row, as positions among the keys.
struct QueryRange {
  alignas(64) int32_t lo[kAttentionBlock], hi[kAttentionBlock], segment[kAttentionBlock];
  float position[kAttentionBlock];  // within the segment
  bool valid[kAttentionBlock];      // a query that exists and is no padding
  int32_t first_key, end_key;       // keys that at least one query may see; empty when none is valid
  int32_t highest_lo, lowest_hi;    // keys between these are within the range of every query
  int32_t segment_low, segment_high;
};
void describe_queries(const AttentionShape& shape, const AttentionSegments& segments, int64_t first_query,
                      QueryRange& range);

// The segment ids of one key block, -1 behind the end.
struct KeyBlock {
  int64_t first_key;
  int32_t segment[kMaxStrips * kAttentionBlock];
  float position[kMaxStrips * kAttentionBlock];               // within the segment; set for alibi only
  std::array<int32_t, kMaxStrips> segment_low, segment_high;  // per strip
};
void describe_keys(const AttentionShape& shape, const AttentionSegments& segments, int64_t first_key, KeyBlock& keys);

// The strips of a key block that a range of queries needs, and the mask there.
struct VisibleStrips {
  int64_t first, end;
  AttentionPanelMask mask;
  const float *query_position, *key_position;  // of the panel's columns, and of the rows from `first` on
};
VisibleStrips visible_strips(const QueryRange& range, const KeyBlock& keys, int64_t strips);

// The slope of a query head: 2^(-8 h / n) for n heads where n is a power of two; heads beyond the largest power of two
// take every other slope of twice as many (Press et al. 2021). Times alibi_factor.
float alibi_slope(const AttentionShape& shape, int64_t head);
// What a key at `position` adds to its scores beyond slope * position: the rounding of alibi_bf16, else 0.
float alibi_rounding(const AttentionShape& shape, int64_t head, float position);
// Scores q.k of the visible strips of one panel become q.k * scale + bias.
void add_alibi(const AttentionKernels& kernels, const AttentionShape& shape, int64_t head, const VisibleStrips& visible,
               float* scores);

// One query block of one key head: where it stands, and what its queries see.
struct QueryTile {
  int64_t batch, kv_head, first_query;
  int64_t ranges;              // of 32 queries, at most panel_rows
  AttentionSegments segments;  // of the batch row
  int64_t first_key, end_key;  // keys that at least one query may see
  std::array<QueryRange, kMaxPanelRows> range;
};
void describe_tile(const AttentionShape& shape, const AttentionBlocks& blocks, const AttentionSegments& segments,
                   int64_t batch, int64_t kv_head, int64_t query_block, QueryTile& tile);

// Pointers into a tensor of `row_stride` elements a row (as that of AttentionShape), for the packing kernels.
// Queries: the 32 of range r for head g of the group; null where there is none and for padding. group_stride and
// head_dim: those of the tensor, elements from one group's first head to the next's and from head to head.
template <typename Byte>
void query_rows(Byte* tensor, int64_t row_stride, int64_t group_stride, int64_t head_dim, const AttentionShape& s,
                const AttentionBlocks& b, const QueryTile& tile, int64_t r, int64_t g, Byte** rows) {
  const int64_t first = tile.batch * s.q_len + tile.first_query + r * kAttentionBlock;
  const int64_t head = tile.kv_head * group_stride + g * head_dim;
  for (int64_t c = 0; c < kAttentionBlock; ++c)
    rows[c] = tile.range[static_cast<size_t>(r)].valid[c] ? tensor + ((first + c) * row_stride + head) * b.element_bytes
                                                          : nullptr;
}
// Keys: the 32 from first_key on; null behind the end and, with `ids` of the batch row, for padding.
template <typename Byte>
void key_rows(Byte* tensor, int64_t row_stride, int64_t head_stride, const AttentionShape& s, const AttentionBlocks& b,
              int64_t batch, int64_t kv_head, int64_t first_key, const int32_t* ids, Byte** rows) {
  for (int64_t r = 0; r < kAttentionBlock; ++r) {
    const int64_t key = first_key + r;
    const bool present = key < s.kv_len && (ids == nullptr || ids[key] >= 0);
    rows[r] =
        present ? tensor + ((batch * s.kv_len + key) * row_stride + kv_head * head_stride) * b.element_bytes : nullptr;
  }
}

// Hands out 64-byte aligned pieces of a workspace; with a null base it only counts.
struct WorkspaceCursor {
  char* base;
  int64_t bytes = 0;
  template <typename T>
  T* take(int64_t size_bytes) {
    char* piece = base == nullptr ? nullptr : base + bytes;
    bytes += (size_bytes + 63) / 64 * 64;
    return reinterpret_cast<T*>(piece);
  }
};

// The sink of a head, of the tensors' dtype.
float sink_of(const AttentionShape& shape, const void* sinks, int64_t head);

// Throws an internal Error for a shape that no kernel takes.
void check_attention_shape(const AttentionShape& shape);

int64_t forward_workspace_bytes(const AttentionShape& shape, const AttentionKernels& kernels, int threads);
int64_t backward_workspace_bytes(const AttentionShape& shape, const AttentionKernels& kernels, int threads);

// attention_forward and attention_backward with a chosen table of kernels (tests compare tables).
void forward_with(const AttentionKernels& kernels, ThreadPool& pool, const AttentionShape& shape, const void* q,
                  const void* k, const void* v, const int32_t* segment_ids, const int32_t* segment_start, void* out,
                  float* lse, void* workspace, const void* sinks = nullptr);
void backward_with(const AttentionKernels& kernels, ThreadPool& pool, const AttentionShape& shape, const void* dout,
                   const void* q, const void* k, const void* v, const void* out, const float* lse,
                   const int32_t* segment_ids, const int32_t* segment_start, void* dq, void* dk, void* dv,
                   void* workspace);

// One query per row against a cache: see attention_decode.cpp. Takes any dtype, and no table of kernels.
int64_t decode_workspace_bytes(const AttentionShape& shape, int threads);
void decode_forward(ThreadPool& pool, const AttentionShape& shape, const void* q, const void* k, const void* v,
                    const int32_t* segment_ids, const int32_t* segment_start, void* out, float* lse, void* workspace,
                    const void* sinks);

}  // namespace plimsoll::cpu
