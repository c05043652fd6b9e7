// Backward of attention: P and dS are made again block by block from q, k and the log-sum-exp.
// One work tile is one (batch row, key head); it owns dK and dV of that head and dQ of its group, so no sum is shared.
#include <algorithm>
#include <array>
#include <cstring>

#include "backend/cpu/attention/attention_blocks.h"

namespace plimsoll::cpu {
namespace {

// A and B blocks of the packed dtype, and f32 C blocks; (rows, columns) of each grid are in blocks.
struct Buffers {
  // `depth` is value_depth for V, dO and dV.
  char *queries_t, *grads_t;  // Q^T and dO^T as B: (panels, depth), depth runs along k
  char *queries, *grads;      // Q and dO as B: (panels, depth), panels run along k
  char *keys, *values;        // K and V as A: (strips, depth)
  char* keys_t;               // K^T as A: (depth, strips)
  float *scores, *products;   // S^T and dP^T as C: (strips)
  char *p, *ds;               // P^T and dS^T as A: (strips, panels)
  char* ds_b;                 // dS^T as B: (strips), of one panel
  float* dq;                  // dQ^T as C: (panels, depth)
  float *dk, *dv;             // as C: (key_strips, depth)
  float *lse2, *delta;        // (panels, 32)
};

Buffers lay_out(const AttentionBlocks& b, const AttentionKernels& kernels, WorkspaceCursor& cursor) {
  Buffers buffers{};
  for (char** packed : {&buffers.queries_t, &buffers.queries})
    *packed = cursor.take<char>(b.panels * b.depth * b.block_bytes);
  for (char** packed : {&buffers.grads_t, &buffers.grads})
    *packed = cursor.take<char>(b.panels * b.value_depth * b.block_bytes);
  for (char** packed : {&buffers.keys, &buffers.keys_t})
    *packed = cursor.take<char>(b.strips * b.depth * b.block_bytes);
  buffers.values = cursor.take<char>(b.strips * b.value_depth * b.block_bytes);
  buffers.scores = cursor.take<float>(b.strips * kAttentionBlockF32Bytes);
  buffers.products = cursor.take<float>(b.strips * kAttentionBlockF32Bytes);
  buffers.p = cursor.take<char>(b.strips * b.panels * b.block_bytes);
  buffers.ds = cursor.take<char>(b.strips * b.panels * b.block_bytes);
  buffers.ds_b = kernels.element_bytes == 4 ? nullptr : cursor.take<char>(b.strips * b.block_bytes);
  buffers.dq = cursor.take<float>(b.panels * b.depth * kAttentionBlockF32Bytes);
  buffers.dk = cursor.take<float>(b.key_strips * b.depth * kAttentionBlockF32Bytes);
  buffers.dv = cursor.take<float>(b.key_strips * b.value_depth * kAttentionBlockF32Bytes);
  buffers.lse2 = cursor.take<float>(b.panels * kAttentionBlock * 4);
  buffers.delta = cursor.take<float>(b.panels * kAttentionBlock * 4);
  return buffers;
}

struct Call {
  const AttentionKernels& kernels;
  const AttentionShape& shape;
  AttentionBlocks blocks;
  const char *dout, *q, *k, *v, *out;
  const float* lse;
  AttentionSegments segments;
  char *dq, *dk, *dv;
};

// Packs q and dout of the tile, and takes delta = dO . O (the sum over keys of P * dP) and lse per query.
void pack_queries(const Call& call, const QueryTile& tile, const Buffers& buffers) {
  const AttentionShape& s = call.shape;
  const AttentionBlocks& b = call.blocks;
  const char *q[kAttentionBlock], *dout[kAttentionBlock], *out[kAttentionBlock];
  for (int64_t panel = 0; panel < tile.ranges * b.group; ++panel) {
    const int64_t r = panel / b.group, g = panel % b.group, blocks = panel * b.depth * b.block_bytes;
    const int64_t value_blocks = panel * b.value_depth * b.block_bytes;
    query_rows(call.q, s.q_row_stride, s.group_stride(), s.head_dim, s, b, tile, r, g, q);
    query_rows(call.dout, s.out_row_stride, b.group * s.values(), s.values(), s, b, tile, r, g, dout);
    query_rows(call.out, s.out_row_stride, b.group * s.values(), s.values(), s, b, tile, r, g, out);
    call.kernels.pack_b_transposed(q, s.dtype, s.head_dim, buffers.queries_t + blocks, b.block_bytes);
    call.kernels.pack_b_transposed(dout, s.dtype, s.values(), buffers.grads_t + value_blocks, b.block_bytes);
    call.kernels.pack_b(q, s.dtype, s.head_dim, buffers.queries + blocks, b.block_bytes);
    call.kernels.pack_b(dout, s.dtype, s.values(), buffers.grads + value_blocks, b.block_bytes);
    const float* lse = call.lse + (tile.batch * s.heads + tile.kv_head * b.group + g) * s.q_len + tile.first_query +
                       r * kAttentionBlock;
    for (int64_t c = 0; c < kAttentionBlock; ++c) {
      const bool valid = q[c] != nullptr;
      buffers.lse2[panel * kAttentionBlock + c] = valid ? lse[c] * kLog2E : 0.0F;
      buffers.delta[panel * kAttentionBlock + c] =
          valid ? call.kernels.dot(dout[c], out[c], s.dtype, s.values()) : 0.0F;
    }
  }
}

void pack_keys(const Call& call, const QueryTile& tile, int64_t first_key, const Buffers& buffers) {
  const AttentionShape& s = call.shape;
  const AttentionBlocks& b = call.blocks;
  const char* rows[kAttentionBlock];
  const int64_t strips = std::min(b.strips, b.key_strips - first_key / kAttentionBlock);
  for (int64_t strip = 0; strip < strips; ++strip) {
    const int64_t first = first_key + strip * kAttentionBlock, blocks = strip * b.depth * b.block_bytes;
    key_rows(call.k, s.k_row_stride, s.head_stride(), s, b, tile.batch, tile.kv_head, first, tile.segments.ids, rows);
    call.kernels.pack_a(rows, s.dtype, s.head_dim, buffers.keys + blocks, b.block_bytes);
    call.kernels.pack_a_transposed(rows, s.dtype, s.head_dim, buffers.keys_t + strip * b.block_bytes,
                                   b.strips * b.block_bytes);
    key_rows(call.v, s.v_row_stride, s.value_stride(), s, b, tile.batch, tile.kv_head, first, tile.segments.ids, rows);
    call.kernels.pack_a(rows, s.dtype, s.values(), buffers.values + strip * b.value_depth * b.block_bytes,
                        b.block_bytes);
  }
}

// P^T and dS^T of one panel and key block, and its part of dQ^T = K^T dS^T.
void differentiate(const Call& call, int64_t panel, int64_t head, const VisibleStrips& visible, bool first,
                   const Buffers& buffers) {
  const AttentionBlocks& b = call.blocks;
  const AttentionShape& s = call.shape;
  const AttentionKernels& kernels = call.kernels;
  const int64_t strips = visible.end - visible.first, strip_bytes = b.depth * b.block_bytes;
  const int64_t value_bytes = b.value_depth * b.block_bytes;
  kernels.gemm({buffers.scores, kAttentionBlockF32Bytes, 0, buffers.keys + visible.first * strip_bytes, strip_bytes,
                b.block_bytes, buffers.queries_t + panel * strip_bytes, b.block_bytes, 0, strips, 1, b.depth, false});
  kernels.gemm({buffers.products, kAttentionBlockF32Bytes, 0, buffers.values + visible.first * value_bytes, value_bytes,
                b.block_bytes, buffers.grads_t + panel * value_bytes, b.block_bytes, 0, strips, 1, b.value_depth,
                false});
  float scale2 = s.scale * kLog2E;
  if (s.softcap > 0.0F) {
    kernels.softcap(buffers.scores, strips, s.scale, s.softcap);
    scale2 = kLog2E;
  }
  if (s.alibi_factor != 0.0F) {
    add_alibi(kernels, s, head, visible, buffers.scores);
    scale2 = kLog2E;
  }
  const int64_t a_offset = (visible.first * b.panels + panel) * b.block_bytes;
  kernels.softmax_gradient({buffers.scores, buffers.products, strips, scale2,
                            s.softcap > 0.0F ? 1.0F / s.softcap : 0.0F, buffers.lse2 + panel * kAttentionBlock,
                            buffers.delta + panel * kAttentionBlock, buffers.p + a_offset, buffers.ds + a_offset,
                            b.panels * b.block_bytes, buffers.ds_b, &visible.mask});
  const bool same_blocks = buffers.ds_b == nullptr;
  kernels.gemm({buffers.dq + panel * b.depth * kAttentionBlockF32Bytes / 4, kAttentionBlockF32Bytes, 0,
                buffers.keys_t + visible.first * b.block_bytes, b.strips * b.block_bytes, b.block_bytes,
                same_blocks ? buffers.ds + a_offset : buffers.ds_b,
                same_blocks ? b.panels * b.block_bytes : b.block_bytes, 0, b.depth, 1, strips, !first});
}

// dV += P^T dO and dK += dS^T Q of one key block, over the panels that see each strip. A range of queries inside that
// span that skips the strip (its segment lies elsewhere) has its blocks zeroed first.
void add_key_gradients(const Call& call, const QueryTile& tile, int64_t first_key,
                       const std::array<VisibleStrips, kMaxPanelRows>& visible, const Buffers& buffers) {
  const AttentionBlocks& b = call.blocks;
  for (int64_t strip = 0; strip < b.strips; ++strip) {
    const auto sees = [&](int64_t r) {
      const VisibleStrips& range = visible[static_cast<size_t>(r)];
      return range.first <= strip && strip < range.end;
    };
    int64_t first = 0, end = tile.ranges;
    while (first < end && !sees(first)) ++first;
    while (end > first && !sees(end - 1)) --end;
    if (first == end) continue;
    const int64_t row = strip * b.panels * b.block_bytes, panel = first * b.group;
    for (int64_t r = first; r < end; ++r) {
      if (sees(r)) continue;
      const auto bytes = static_cast<size_t>(b.group * b.block_bytes);
      std::memset(buffers.p + row + r * b.group * b.block_bytes, 0, bytes);
      std::memset(buffers.ds + row + r * b.group * b.block_bytes, 0, bytes);
    }
    const int64_t block = (first_key / kAttentionBlock + strip) * kAttentionBlockF32Bytes / 4;
    const int64_t a = row + panel * b.block_bytes, operand = panel * b.block_bytes;
    const int64_t panels = (end - first) * b.group;
    call.kernels.gemm({buffers.dv + block * b.value_depth, 0, kAttentionBlockF32Bytes, buffers.p + a, 0, b.block_bytes,
                       buffers.grads + operand * b.value_depth, b.value_depth * b.block_bytes, b.block_bytes, 1,
                       b.value_depth, panels, true});
    call.kernels.gemm({buffers.dk + block * b.depth, 0, kAttentionBlockF32Bytes, buffers.ds + a, 0, b.block_bytes,
                       buffers.queries + operand * b.depth, b.depth * b.block_bytes, b.block_bytes, 1, b.depth, panels,
                       true});
  }
}

void write_query_gradients(const Call& call, const QueryTile& tile, int64_t r, int64_t g, bool touched,
                           const Buffers& buffers) {
  const AttentionShape& s = call.shape;
  const AttentionBlocks& b = call.blocks;
  alignas(64) float factors[kAttentionBlock];
  std::fill(factors, factors + kAttentionBlock, s.scale);
  char* rows[kAttentionBlock];
  query_rows(call.dq, s.q_row_stride, s.group_stride(), s.head_dim, s, b, tile, r, g, rows);
  const int64_t first = tile.first_query + r * kAttentionBlock;
  const int64_t head_column = tile.kv_head * s.group_stride() + g * s.head_dim;
  for (int64_t c = 0; c < kAttentionBlock && first + c < s.q_len; ++c) {
    if (rows[c] != nullptr && touched) continue;
    rows[c] = nullptr;
    char* row = call.dq + ((tile.batch * s.q_len + first + c) * s.q_row_stride + head_column) * b.element_bytes;
    std::memset(row, 0, static_cast<size_t>(s.head_dim * b.element_bytes));
  }
  call.kernels.write_transposed(buffers.dq + (r * b.group + g) * b.depth * kAttentionBlockF32Bytes / 4, factors, rows,
                                s.dtype, s.head_dim);
}

void run_query_block(const Call& call, int64_t batch, int64_t kv_head, int64_t query_block, const Buffers& buffers) {
  const AttentionBlocks& b = call.blocks;
  QueryTile tile;
  describe_tile(call.shape, b, call.segments, batch, kv_head, query_block, tile);
  pack_queries(call, tile, buffers);
  std::array<bool, kMaxPanelRows> touched{};
  std::array<VisibleStrips, kMaxPanelRows> visible{};
  KeyBlock keys;
  const int64_t first_key = tile.first_key / kAttentionBlock * kAttentionBlock;
  for (int64_t key = first_key; key < tile.end_key; key += b.strips * kAttentionBlock) {
    describe_keys(call.shape, tile.segments, key, keys);
    pack_keys(call, tile, key, buffers);
    for (int64_t r = 0; r < tile.ranges; ++r) {
      const auto range = static_cast<size_t>(r);
      visible[range] = visible_strips(tile.range[range], keys, b.strips);
      if (visible[range].first >= visible[range].end) continue;
      for (int64_t g = 0; g < b.group; ++g)
        differentiate(call, r * b.group + g, tile.kv_head * b.group + g, visible[range], !touched[range], buffers);
      touched[range] = true;
    }
    add_key_gradients(call, tile, key, visible, buffers);
  }
  for (int64_t r = 0; r < tile.ranges; ++r)
    for (int64_t g = 0; g < b.group; ++g)
      write_query_gradients(call, tile, r, g, touched[static_cast<size_t>(r)], buffers);
}

void run_tile(const Call& call, int64_t index, const Buffers& buffers) {
  const AttentionShape& s = call.shape;
  const AttentionBlocks& b = call.blocks;
  const int64_t batch = index / s.kv_heads, kv_head = index % s.kv_heads;
  call.kernels.begin_tile();
  const int64_t sum_bytes = b.key_strips * kAttentionBlockF32Bytes;
  std::memset(buffers.dk, 0, static_cast<size_t>(sum_bytes * b.depth));
  std::memset(buffers.dv, 0, static_cast<size_t>(sum_bytes * b.value_depth));
  for (int64_t block = 0; block < b.query_blocks; ++block) run_query_block(call, batch, kv_head, block, buffers);
  char* rows[kAttentionBlock];
  for (int64_t strip = 0; strip < b.key_strips; ++strip) {
    const int64_t block = strip * kAttentionBlockF32Bytes / 4;
    key_rows(call.dk, s.k_row_stride, s.head_stride(), s, b, batch, kv_head, strip * kAttentionBlock, nullptr, rows);
    call.kernels.write_rows(buffers.dk + block * b.depth, s.scale, rows, s.dtype, s.head_dim);
    key_rows(call.dv, s.v_row_stride, s.value_stride(), s, b, batch, kv_head, strip * kAttentionBlock, nullptr, rows);
    call.kernels.write_rows(buffers.dv + block * b.value_depth, 1.0F, rows, s.dtype, s.values());
  }
  call.kernels.end_tile();
}

}  // namespace

int64_t backward_workspace_bytes(const AttentionShape& shape, const AttentionKernels& kernels, int threads) {
  WorkspaceCursor cursor{nullptr};
  lay_out(attention_blocks(shape, kernels), kernels, cursor);
  return cursor.bytes * threads;
}

void backward_with(const AttentionKernels& kernels, ThreadPool& pool, const AttentionShape& shape, const void* dout,
                   const void* q, const void* k, const void* v, const void* out, const float* lse,
                   const int32_t* segment_ids, const int32_t* segment_start, void* dq, void* dk, void* dv,
                   void* workspace) {
  const AttentionBlocks blocks = attention_blocks(shape, kernels);
  const Call call = {kernels,
                     shape,
                     blocks,
                     static_cast<const char*>(dout),
                     static_cast<const char*>(q),
                     static_cast<const char*>(k),
                     static_cast<const char*>(v),
                     static_cast<const char*>(out),
                     lse,
                     {segment_ids, segment_start},
                     static_cast<char*>(dq),
                     static_cast<char*>(dk),
                     static_cast<char*>(dv)};
  const int64_t thread_bytes = backward_workspace_bytes(shape, kernels, 1);
  pool.parallel_for(shape.batch * shape.kv_heads, [&](int64_t tile, int thread) {
    WorkspaceCursor cursor{static_cast<char*>(workspace) + thread * thread_bytes};
    run_tile(call, tile, lay_out(blocks, kernels, cursor));
  });
}

}  // namespace plimsoll::cpu
