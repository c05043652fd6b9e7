#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "backend/cpu/attention/attention_blocks.h"

namespace plimsoll::cpu {
namespace {

struct Buffers {
  char* queries;                     // Q^T as B blocks: (panels, depth)
  char* keys;                        // K as A blocks: (strips, depth)
  char* values;                      // V^T as A blocks: (value_depth, strips)
  float* scores;                     // S^T as C blocks: (strips)
  char* probabilities;               // P^T as B blocks: (strips); the scores' place for f32 blocks
  float* sums;                       // O^T as C blocks: (panels, value_depth)
  float *maximum, *total, *rescale;  // (panels, 32) each; rescale (32)
};

Buffers lay_out(const AttentionBlocks& b, const AttentionKernels& kernels, WorkspaceCursor& cursor) {
  Buffers buffers{};
  buffers.queries = cursor.take<char>(b.panels * b.depth * b.block_bytes);
  buffers.keys = cursor.take<char>(b.strips * b.depth * b.block_bytes);
  buffers.values = cursor.take<char>(b.strips * b.value_depth * b.block_bytes);
  buffers.scores = cursor.take<float>(b.strips * kAttentionBlockF32Bytes);
  buffers.probabilities = kernels.element_bytes == 4 ? reinterpret_cast<char*>(buffers.scores)
                                                     : cursor.take<char>(b.strips * b.block_bytes);
  buffers.sums = cursor.take<float>(b.panels * b.value_depth * kAttentionBlockF32Bytes);
  buffers.maximum = cursor.take<float>(b.panels * kAttentionBlock * 4);
  buffers.total = cursor.take<float>(b.panels * kAttentionBlock * 4);
  buffers.rescale = cursor.take<float>(kAttentionBlock * 4);
  return buffers;
}

struct Call {
  const AttentionKernels& kernels;
  const AttentionShape& shape;
  AttentionBlocks blocks;
  const char *q, *k, *v;
  AttentionSegments segments;
  char* out;
  float* lse;
  const void* sinks;
};

void pack_queries(const Call& call, const QueryTile& tile, const Buffers& buffers) {
  const AttentionBlocks& b = call.blocks;
  const char* rows[kAttentionBlock];
  for (int64_t r = 0; r < tile.ranges; ++r)
    for (int64_t g = 0; g < b.group; ++g) {
      query_rows(call.q, call.shape.q_row_stride, call.shape.group_stride(), call.shape.head_dim, call.shape, b, tile,
                 r, g, rows);
      call.kernels.pack_b_transposed(rows, call.shape.dtype, call.shape.head_dim,
                                     buffers.queries + (r * b.group + g) * b.depth * b.block_bytes, b.block_bytes);
    }
}

void pack_keys(const Call& call, const QueryTile& tile, int64_t first_key, const Buffers& buffers) {
  const AttentionShape& s = call.shape;
  const AttentionBlocks& b = call.blocks;
  const char* rows[kAttentionBlock];
  const int64_t strips = std::min(b.strips, b.key_strips - first_key / kAttentionBlock);
  for (int64_t strip = 0; strip < strips; ++strip) {
    const int64_t first = first_key + strip * kAttentionBlock;
    key_rows(call.k, s.k_row_stride, s.head_stride(), s, b, tile.batch, tile.kv_head, first, tile.segments.ids, rows);
    call.kernels.pack_a(rows, s.dtype, s.head_dim, buffers.keys + strip * b.depth * b.block_bytes, b.block_bytes);
    key_rows(call.v, s.v_row_stride, s.value_stride(), s, b, tile.batch, tile.kv_head, first, tile.segments.ids, rows);
    call.kernels.pack_a_transposed(rows, s.dtype, s.values(), buffers.values + strip * b.block_bytes,
                                   b.strips * b.block_bytes);
  }
}

// Adds the visible keys of one block to the sums of one panel.
void attend(const Call& call, int64_t panel, int64_t head, const VisibleStrips& visible, bool first,
            const Buffers& buffers) {
  const AttentionBlocks& b = call.blocks;
  const AttentionShape& s = call.shape;
  const int64_t strips = visible.end - visible.first;
  call.kernels.gemm({buffers.scores, kAttentionBlockF32Bytes, 0, buffers.keys + visible.first * b.depth * b.block_bytes,
                     b.depth * b.block_bytes, b.block_bytes, buffers.queries + panel * b.depth * b.block_bytes,
                     b.block_bytes, 0, strips, 1, b.depth, false});
  float scale2 = s.scale * kLog2E;
  if (s.softcap > 0.0F) {
    call.kernels.softcap(buffers.scores, strips, s.scale, s.softcap);
    scale2 = kLog2E;
  }
  if (s.alibi_factor != 0.0F) {
    add_alibi(call.kernels, s, head, visible, buffers.scores);
    scale2 = kLog2E;
  }
  float* sums = buffers.sums + panel * b.value_depth * kAttentionBlockF32Bytes / 4;
  const bool rescaled = call.kernels.softmax({buffers.scores, buffers.probabilities, strips, scale2,
                                              buffers.maximum + panel * kAttentionBlock,
                                              buffers.total + panel * kAttentionBlock, buffers.rescale, &visible.mask});
  if (rescaled && !first) call.kernels.rescale_columns(sums, b.value_depth, buffers.rescale);
  call.kernels.gemm({sums, kAttentionBlockF32Bytes, 0, buffers.values + visible.first * b.block_bytes,
                     b.strips * b.block_bytes, b.block_bytes, buffers.probabilities, b.block_bytes, 0, b.value_depth, 1,
                     strips, !first});
}

// The sink joins the sum: factors and logs of the queries that see anything.
void add_sink(float sink, const float* maximum, const float* total, float* factors, float* logs) {
  const float sink2 = sink * kLog2E;
  for (int64_t c = 0; c < kAttentionBlock; ++c) {
    if (factors[c] == 0.0F) continue;
    const float highest = std::max(maximum[c], sink2), lag = std::exp2(maximum[c] - highest);
    const float sum = total[c] * lag + std::exp2(sink2 - highest);
    factors[c] = lag / sum;
    logs[c] = highest * kLn2 + std::log(sum);
  }
}

// Writes out and lse of one panel: O = sums / total, zeros for padding.
void finish_panel(const Call& call, const QueryTile& tile, int64_t r, int64_t g, const Buffers& buffers) {
  const AttentionShape& s = call.shape;
  const AttentionBlocks& b = call.blocks;
  const int64_t panel = r * b.group + g, head = tile.kv_head * b.group + g;
  const int64_t first = tile.first_query + r * kAttentionBlock;
  const float* maximum = buffers.maximum + panel * kAttentionBlock;
  const float* total = buffers.total + panel * kAttentionBlock;
  char* empty_row =
      call.out + ((tile.batch * s.q_len + first) * s.out_row_stride + head * s.values()) * b.element_bytes;
  float* lse = call.lse == nullptr ? nullptr : call.lse + (tile.batch * s.heads + head) * s.q_len + first;
  alignas(64) float factors[kAttentionBlock] = {}, logs[kAttentionBlock];
  call.kernels.log_sums(maximum, total, logs);
  char* rows[kAttentionBlock];
  query_rows(call.out, s.out_row_stride, b.group * s.values(), s.values(), s, b, tile, r, g, rows);
  for (int64_t c = 0; c < kAttentionBlock && first + c < s.q_len;
       ++c, empty_row += s.out_row_stride * b.element_bytes) {
    const bool sees = rows[c] != nullptr && total[c] != 0.0F;
    if (!sees) {
      rows[c] = nullptr;
      std::memset(empty_row, 0, static_cast<size_t>(s.values() * b.element_bytes));
    }
    factors[c] = sees ? 1.0F / total[c] : 0.0F;
    if (!sees) logs[c] = 0.0F;
  }
  if (call.sinks != nullptr) add_sink(sink_of(s, call.sinks, head), maximum, total, factors, logs);
  if (lse != nullptr) std::copy(logs, logs + std::min(kAttentionBlock, s.q_len - first), lse);
  call.kernels.write_transposed(buffers.sums + panel * b.value_depth * kAttentionBlockF32Bytes / 4, factors, rows,
                                s.dtype, s.values());
}

void run_tile(const Call& call, int64_t index, const Buffers& buffers) {
  const AttentionShape& s = call.shape;
  const AttentionBlocks& b = call.blocks;
  QueryTile tile;
  // Late queries see the most keys: they go first, so that the last tiles to be claimed are short.
  const int64_t rows = s.batch * s.kv_heads, query_block = b.query_blocks - 1 - index / rows;
  describe_tile(s, b, call.segments, index % rows / s.kv_heads, index % s.kv_heads, query_block, tile);
  call.kernels.begin_tile();
  pack_queries(call, tile, buffers);
  std::fill(buffers.maximum, buffers.maximum + b.panels * kAttentionBlock, kNoScore);
  std::fill(buffers.total, buffers.total + b.panels * kAttentionBlock, 0.0F);
  std::array<bool, kMaxPanelRows> touched{};
  KeyBlock keys;
  const int64_t first_key = tile.first_key / kAttentionBlock * kAttentionBlock;
  for (int64_t key = first_key; key < tile.end_key; key += b.strips * kAttentionBlock) {
    describe_keys(s, tile.segments, key, keys);
    pack_keys(call, tile, key, buffers);
    for (int64_t r = 0; r < tile.ranges; ++r) {
      const VisibleStrips visible = visible_strips(tile.range[static_cast<size_t>(r)], keys, b.strips);
      if (visible.first >= visible.end) continue;
      bool& seen = touched[static_cast<size_t>(r)];
      for (int64_t g = 0; g < b.group; ++g)
        attend(call, r * b.group + g, tile.kv_head * b.group + g, visible, !seen, buffers);
      seen = true;
    }
  }
  for (int64_t r = 0; r < tile.ranges; ++r)
    for (int64_t g = 0; g < b.group; ++g) finish_panel(call, tile, r, g, buffers);
  call.kernels.end_tile();
}

}  // namespace

int64_t forward_workspace_bytes(const AttentionShape& shape, const AttentionKernels& kernels, int threads) {
  if (shape.q_len == 1) return decode_workspace_bytes(shape, threads);
  WorkspaceCursor cursor{nullptr};
  lay_out(attention_blocks(shape, kernels), kernels, cursor);
  return cursor.bytes * threads;
}

void forward_with(const AttentionKernels& kernels, ThreadPool& pool, const AttentionShape& shape, const void* q,
                  const void* k, const void* v, const int32_t* segment_ids, const int32_t* segment_start, void* out,
                  float* lse, void* workspace, const void* sinks) {
  const Call call = {kernels,
                     shape,
                     attention_blocks(shape, kernels),
                     static_cast<const char*>(q),
                     static_cast<const char*>(k),
                     static_cast<const char*>(v),
                     {segment_ids, segment_start},
                     static_cast<char*>(out),
                     lse,
                     sinks};
  if (shape.q_len == 0) return;
  if (shape.q_len == 1)
    return decode_forward(pool, shape, q, k, v, segment_ids, segment_start, out, lse, workspace, sinks);
  const int64_t thread_bytes = forward_workspace_bytes(shape, kernels, 1);
  pool.parallel_for(shape.batch * shape.kv_heads * call.blocks.query_blocks, [&](int64_t tile, int thread) {
    WorkspaceCursor cursor{static_cast<char*>(workspace) + thread * thread_bytes};
    run_tile(call, tile, lay_out(call.blocks, kernels, cursor));
  });
}

}  // namespace plimsoll::cpu
