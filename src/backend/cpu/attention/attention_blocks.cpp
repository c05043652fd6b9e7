#include "backend/cpu/attention/attention_blocks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll::cpu {

// Packing of keys and values is paid once per work tile and key block: about 384 columns of queries make it small,
// and their packed queries and sums stay in a 1 MiB second-level cache.
constexpr int64_t kTileColumns = kMaxPanelRows * kAttentionBlock;

AttentionBlocks attention_blocks(const AttentionShape& shape, const AttentionKernels& kernels) {
  AttentionBlocks blocks{};
  blocks.group = shape.heads / shape.kv_heads;
  blocks.depth = ceil_div(shape.head_dim, kAttentionBlock);
  blocks.value_depth = ceil_div(shape.values(), kAttentionBlock);
  const int64_t ranges = std::max<int64_t>(1, ceil_div(shape.q_len, kAttentionBlock));
  blocks.panel_rows = std::min(ranges, std::max<int64_t>(1, kTileColumns / (blocks.group * kAttentionBlock)));
  blocks.panels = blocks.panel_rows * blocks.group;
  blocks.query_blocks = ceil_div(ranges, blocks.panel_rows);
  blocks.key_strips = ceil_div(shape.kv_len, kAttentionBlock);
  blocks.strips = std::min(kMaxStrips, std::max<int64_t>(1, blocks.key_strips));
  blocks.block_bytes = kAttentionBlock * kAttentionBlock * kernels.element_bytes;
  blocks.element_bytes = shape.dtype == DType::bf16 ? 2 : 4;
  return blocks;
}

void check_attention_shape(const AttentionShape& s) {
  PLIMSOLL_CHECK(s.dtype == DType::f32 || s.dtype == DType::bf16, "attention takes f32 or bf16");
  PLIMSOLL_CHECK(s.batch >= 0 && s.q_len >= 0 && s.head_dim > 0 && s.kv_heads > 0, "attention sizes");
  PLIMSOLL_CHECK(s.heads > 0 && s.heads % s.kv_heads == 0, "heads must be a multiple of kv_heads");
  PLIMSOLL_CHECK(s.q_offset >= 0 && s.q_offset + s.q_len <= s.kv_len, "queries must stand among the keys");
  PLIMSOLL_CHECK(s.kv_len < std::numeric_limits<int32_t>::max() - 256, "kv_len must fit 31 bits");
  PLIMSOLL_CHECK(s.scale > 0.0F && s.softcap >= 0.0F && s.window >= 0, "scale > 0, softcap and window >= 0");
  PLIMSOLL_CHECK(!s.cache || s.q_len == 1 || s.kv_dtype() == s.dtype, "only a single query reads another type");
  PLIMSOLL_CHECK(s.alibi_factor == 0.0F || s.softcap == 0.0F, "alibi has no softcap");
  PLIMSOLL_CHECK(s.q_row_stride >= s.heads * s.head_dim && s.out_row_stride >= s.heads * s.values() &&
                     s.k_row_stride >= s.kv_heads * s.head_dim && s.v_row_stride >= s.kv_heads * s.values(),
                 "row strides must hold all heads");
}

float sink_of(const AttentionShape& shape, const void* sinks, int64_t head) {
  if (shape.dtype == DType::bf16) return bf16_to_f32(static_cast<const uint16_t*>(sinks)[head]);
  return static_cast<const float*>(sinks)[head];
}

void describe_queries(const AttentionShape& shape, const AttentionSegments& segments, int64_t first_query,
                      QueryRange& range) {
  constexpr int32_t kNever = std::numeric_limits<int32_t>::max();
  range.first_key = kNever;
  range.end_key = 0;
  range.highest_lo = 0;
  range.lowest_hi = kNever;
  range.segment_low = kNever;
  range.segment_high = std::numeric_limits<int32_t>::min();
  for (int64_t column = 0; column < kAttentionBlock; ++column) {
    const int64_t query = first_query + column;
    const auto position = static_cast<int32_t>(query + shape.q_offset);
    const bool exists = query < shape.q_len;
    const int32_t segment = !exists ? -1 : segments.ids == nullptr ? 0 : segments.ids[position];
    range.valid[column] = segment >= 0;
    int32_t lo = kNever;
    if (segment >= 0) {
      lo = 0;
      if (shape.window > 0) lo = static_cast<int32_t>(std::max<int64_t>(0, position - shape.window + 1));
      if (segments.start != nullptr) lo = std::max(lo, segments.start[position]);
      range.first_key = std::min(range.first_key, lo);
      range.end_key = std::max(range.end_key, position + 1);
    }
    range.lo[column] = lo;
    range.hi[column] = position;
    const bool starts = segment >= 0 && segments.start != nullptr;
    range.position[column] = static_cast<float>(position - (starts ? segments.start[position] : 0));
    range.segment[column] = segment;
    range.highest_lo = std::max(range.highest_lo, lo);
    range.lowest_hi = std::min(range.lowest_hi, position);
    range.segment_low = std::min(range.segment_low, segment);
    range.segment_high = std::max(range.segment_high, segment);
  }
}

void describe_tile(const AttentionShape& shape, const AttentionBlocks& blocks, const AttentionSegments& segments,
                   int64_t batch, int64_t kv_head, int64_t query_block, QueryTile& tile) {
  tile.batch = batch;
  tile.kv_head = kv_head;
  tile.first_query = query_block * blocks.panel_rows * kAttentionBlock;
  tile.ranges = std::min(blocks.panel_rows, ceil_div(shape.q_len - tile.first_query, kAttentionBlock));
  tile.segments = {segments.ids == nullptr ? nullptr : segments.ids + batch * shape.kv_len,
                   segments.start == nullptr ? nullptr : segments.start + batch * shape.kv_len};
  tile.first_key = shape.kv_len;
  tile.end_key = 0;
  for (int64_t r = 0; r < tile.ranges; ++r) {
    QueryRange& range = tile.range[static_cast<size_t>(r)];
    describe_queries(shape, tile.segments, tile.first_query + r * kAttentionBlock, range);
    tile.first_key = std::min<int64_t>(tile.first_key, range.first_key);
    tile.end_key = std::max<int64_t>(tile.end_key, range.end_key);
  }
}

void describe_keys(const AttentionShape& shape, const AttentionSegments& segments, int64_t first_key, KeyBlock& keys) {
  keys.first_key = first_key;
  for (int64_t strip = 0; strip < kMaxStrips; ++strip) {
    int32_t low = std::numeric_limits<int32_t>::max(), high = std::numeric_limits<int32_t>::min();
    for (int64_t r = 0; r < kAttentionBlock; ++r) {
      const int64_t key = first_key + strip * kAttentionBlock + r;
      const int32_t id = key >= shape.kv_len ? -1 : segments.ids == nullptr ? 0 : segments.ids[key];
      keys.segment[strip * kAttentionBlock + r] = id;
      if (shape.alibi_factor != 0.0F) {
        const bool starts = id >= 0 && segments.start != nullptr;
        keys.position[strip * kAttentionBlock + r] = static_cast<float>(key - (starts ? segments.start[key] : 0));
      }
      low = std::min(low, id);
      high = std::max(high, id);
    }
    keys.segment_low[static_cast<size_t>(strip)] = low;
    keys.segment_high[static_cast<size_t>(strip)] = high;
  }
}

VisibleStrips visible_strips(const QueryRange& range, const KeyBlock& keys, int64_t strips) {
  VisibleStrips visible{};
  if (range.first_key >= range.end_key) return visible;
  visible.first = std::max<int64_t>(0, (range.first_key - keys.first_key) / kAttentionBlock);
  visible.end = std::min(strips, ceil_div(std::max<int64_t>(0, range.end_key - keys.first_key), kAttentionBlock));
  visible.end = std::max(visible.end, visible.first);
  const auto first_key = static_cast<int32_t>(keys.first_key + visible.first * kAttentionBlock);
  uint32_t masked = 0;
  const bool one_segment = range.segment_low >= 0 && range.segment_low == range.segment_high;
  for (int64_t strip = visible.first; strip < visible.end; ++strip) {
    const auto at = static_cast<size_t>(strip);
    const int64_t key = keys.first_key + strip * kAttentionBlock;
    const bool open = one_segment && range.highest_lo <= key && range.lowest_hi >= key + kAttentionBlock - 1 &&
                      keys.segment_low[at] == range.segment_low && keys.segment_high[at] == range.segment_low;
    if (!open) masked |= uint32_t{1} << (strip - visible.first);
  }
  visible.query_position = range.position;
  visible.key_position = keys.position + visible.first * kAttentionBlock;
  visible.mask = {range.lo, range.hi, range.segment, keys.segment + visible.first * kAttentionBlock, first_key, masked};
  return visible;
}

namespace {

// Without the factor.
double plain_slope(const AttentionShape& shape, int64_t head) {
  int64_t powers = 1;
  while (2 * powers <= shape.heads) powers *= 2;
  const double slope =
      head < powers ? std::exp2(-8.0 * static_cast<double>(head + 1) / static_cast<double>(powers))
                    : std::exp2(-4.0 * static_cast<double>(2 * (head - powers) + 1) / static_cast<double>(powers));
  return shape.alibi_bf16 ? static_cast<double>(bf16_to_f32(f32_to_bf16(static_cast<float>(slope)))) : slope;
}

}  // namespace

float alibi_slope(const AttentionShape& shape, int64_t head) {
  return static_cast<float>(plain_slope(shape, head)) * shape.alibi_factor;
}

float alibi_rounding(const AttentionShape& shape, int64_t head, float position) {
  if (!shape.alibi_bf16) return 0.0F;
  const float exact = static_cast<float>(plain_slope(shape, head)) * position;
  return (bf16_to_f32(f32_to_bf16(exact)) - exact) * shape.alibi_factor;
}

void add_alibi(const AttentionKernels& kernels, const AttentionShape& shape, int64_t head, const VisibleStrips& visible,
               float* scores) {
  float rounding[kMaxStrips * kAttentionBlock] = {};
  const int64_t strips = visible.end - visible.first;
  for (int64_t row = 0; shape.alibi_bf16 && row < strips * kAttentionBlock; ++row)
    rounding[row] = alibi_rounding(shape, head, visible.key_position[row]);
  kernels.alibi(
      {scores, strips, shape.scale, alibi_slope(shape, head), visible.query_position, visible.key_position, rounding});
}

}  // namespace plimsoll::cpu
