// Attention of one query per row, for generation: limited by how fast keys and values can be read, so each is read once
// for all query heads of its group, and long rows are cut into chunks of keys that threads take. The partial results of
// a row (maximum, sum, weighted values) are joined in the order of its chunks.
#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "backend/cpu/attention/attention_blocks.h"
#include "base/bytes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention/attention_decode.cpp"
// foreach_target comes first: it includes this file again for each target.
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>
#include "backend/cpu/attention/attention_math-inl.h"
// clang-format on

#ifndef PLIMSOLL_ATTENTION_DECODE_ONCE_
#define PLIMSOLL_ATTENTION_DECODE_ONCE_
namespace plimsoll::cpu {
namespace {

constexpr int64_t kChunkKeys = 256;
constexpr int64_t kPadding = 16;  // rows of f32 are padded to whole vectors

// The keys of one chunk that the query sees, for one key head and its group of query heads.
struct Chunk {
  const char *k, *v;  // of key 0
  int64_t k_stride_bytes, v_stride_bytes;
  DType dtype;
  int64_t head_dim, padded_dim, value_dim, padded_value_dim, group;
  const int32_t* keys;
  int64_t count;
  float scale, softcap;
  const float* bias;              // (group, kChunkKeys) to add to the scaled scores, or null
  const float* q;                 // (group, padded_dim)
  float* scores;                  // (group, kChunkKeys)
  float *maximum, *sum, *values;  // (group), (group), (group, padded_value_dim)
};

}  // namespace
}  // namespace plimsoll::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE float load_f16(const char* at) {
  const hn::CappedTag<float, 1> one;
  const hn::Rebind<hwy::float16_t, decltype(one)> half;
  return hn::GetLane(hn::PromoteTo(one, hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(at))));
}

// Elements i, i + 1, … of a row. Blocks of 32 begin with an f16 scale; the low nibbles of q4_0 are its first half.
template <DType kType>
HWY_INLINE VF load_lanes(const char* row, int64_t i) {
  const DF df;
  const DI di;
  if constexpr (kType == DType::f16) {
    return hn::PromoteTo(df,
                         hn::LoadU(hn::Rebind<hwy::float16_t, DF>(), reinterpret_cast<const hwy::float16_t*>(row) + i));
  } else if constexpr (kType == DType::q8_0) {
    const char* const block = row + i / 32 * 34;
    const auto codes = hn::LoadU(hn::Rebind<int8_t, DF>(), reinterpret_cast<const int8_t*>(block) + 2 + i % 32);
    return hn::Mul(hn::ConvertTo(df, hn::PromoteTo(di, codes)), hn::Set(df, load_f16(block)));
  } else if constexpr (kType == DType::q4_0) {
    const char* const block = row + i / 32 * 18;
    const auto bytes =
        hn::PromoteTo(di, hn::LoadU(hn::Rebind<uint8_t, DF>(), reinterpret_cast<const uint8_t*>(block) + 2 + i % 16));
    const auto codes = i % 32 < 16 ? hn::And(bytes, hn::Set(di, 15)) : hn::ShiftRight<4>(bytes);
    return hn::Mul(hn::ConvertTo(df, hn::Sub(codes, hn::Set(di, 8))), hn::Set(df, load_f16(block)));
  } else if constexpr (kType == DType::bf16) {
    return load_bf16(reinterpret_cast<const uint16_t*>(row) + i);
  } else {
    return hn::LoadU(df, reinterpret_cast<const float*>(row) + i);
  }
}

// A row's last elements where they fill no vector, with zeros behind; rows of blocks have none.
template <DType kType>
HWY_INLINE VF load_tail(const char* row, int64_t i, int64_t d) {
  HWY_ALIGN float lanes[kPadding] = {};
  for (int64_t x = 0; i + x < d; ++x)
    lanes[x] = kType == DType::bf16  ? bf16_to_f32(reinterpret_cast<const uint16_t*>(row)[i + x])
               : kType == DType::f16 ? f16_to_f32(reinterpret_cast<const uint16_t*>(row)[i + x])
                                     : reinterpret_cast<const float*>(row)[i + x];
  return hn::Load(DF(), lanes);
}

// Rows of one head lie a whole token apart, too far for the hardware to guess the next: asks for a row in advance.
HWY_INLINE void prefetch_row(const Chunk& c, const char* rows, int64_t stride_bytes, int64_t key, int64_t first_byte,
                             int64_t bytes) {
  constexpr int64_t kRowsAhead = 16;
  if (key + kRowsAhead >= c.count) return;
  const char* row = rows + c.keys[key + kRowsAhead] * stride_bytes + first_byte;
  for (int64_t at = 0; at < bytes; at += 64) hwy::Prefetch(row + at);
}

// scores = q . k for kHeads heads from `head` on.
template <DType kType, int kHeads>
HWY_ATTR void score(const Chunk& c, int64_t head) {
  const DF df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  const int64_t row_bytes = dtype_bytes(kType, c.head_dim);
  const int64_t whole = c.head_dim / lanes * lanes;
  const float* q = c.q + head * c.padded_dim;
  for (int64_t key = 0; key < c.count; ++key) {
    const char* row = c.k + c.keys[key] * c.k_stride_bytes;
    prefetch_row(c, c.k, c.k_stride_bytes, key, 0, row_bytes);
    VF sums[kHeads];
    for (VF& sum : sums) sum = hn::Zero(df);
    for (int64_t i = 0; i < whole; i += lanes) {
      const VF k = load_lanes<kType>(row, i);
      for (int h = 0; h < kHeads; ++h) sums[h] = hn::MulAdd(k, hn::Load(df, q + h * c.padded_dim + i), sums[h]);
    }
    if (whole < c.head_dim) {
      const VF k = load_tail<kType>(row, whole, c.head_dim);
      for (int h = 0; h < kHeads; ++h) sums[h] = hn::MulAdd(k, hn::Load(df, q + h * c.padded_dim + whole), sums[h]);
    }
    for (int h = 0; h < kHeads; ++h) c.scores[(head + h) * kChunkKeys + key] = hn::GetLane(hn::SumOfLanes(df, sums[h]));
  }
}

// values = sum over keys of p * v, for kHeads heads from `head` on, kWidth vectors of head_dim at a time.
template <DType kType, int kHeads>
HWY_ATTR void weigh(const Chunk& c, int64_t head) {
  constexpr int kWidth = HWY_MAX_BYTES >= 64 ? 4 : 2;
  constexpr int64_t kPrefetchedValues = HWY_MAX_BYTES >= 64 ? 64 : 32;  // whole blocks
  const DF df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  const float* p = c.scores + head * kChunkKeys;
  float* to = c.values + head * c.padded_value_dim;
  int64_t i = 0;
  for (; i + kWidth * lanes <= c.value_dim; i += kWidth * lanes) {
    const int64_t first_byte = dtype_bytes(kType, i / 32 * 32), part_bytes = dtype_bytes(kType, kPrefetchedValues);
    VF sums[kHeads][kWidth];
    for (auto& row : sums)
      for (VF& sum : row) sum = hn::Zero(df);
    for (int64_t key = 0; key < c.count; ++key) {
      const char* row = c.v + c.keys[key] * c.v_stride_bytes;
      prefetch_row(c, c.v, c.v_stride_bytes, key, first_byte, part_bytes);
      VF v[kWidth];
      for (int w = 0; w < kWidth; ++w) v[w] = load_lanes<kType>(row, i + w * lanes);
      for (int h = 0; h < kHeads; ++h) {
        const VF weight = hn::Set(df, p[h * kChunkKeys + key]);
        for (int w = 0; w < kWidth; ++w) sums[h][w] = hn::MulAdd(weight, v[w], sums[h][w]);
      }
    }
    for (int h = 0; h < kHeads; ++h)
      for (int w = 0; w < kWidth; ++w) hn::Store(sums[h][w], df, to + h * c.padded_value_dim + i + w * lanes);
  }
  for (; i < c.value_dim; i += lanes) {
    VF sums[kHeads];
    for (VF& sum : sums) sum = hn::Zero(df);
    for (int64_t key = 0; key < c.count; ++key) {
      const char* row = c.v + c.keys[key] * c.v_stride_bytes;
      const VF v = i + lanes <= c.value_dim ? load_lanes<kType>(row, i) : load_tail<kType>(row, i, c.value_dim);
      for (int h = 0; h < kHeads; ++h) sums[h] = hn::MulAdd(hn::Set(df, p[h * kChunkKeys + key]), v, sums[h]);
    }
    for (int h = 0; h < kHeads; ++h) hn::Store(sums[h], df, to + h * c.padded_value_dim + i);
  }
}

// Scores to probabilities (up to the sum) of one head.
// A template, for GCC 12 turns `if (capped)` around vectors into a blend by the mask of a scalar comparison (AVX-512).
template <bool kCapped>
HWY_ATTR void normalize_scores(const Chunk& c, int64_t head) {
  const DF df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  float* s = c.scores + head * kChunkKeys;
  std::fill(s + c.count, s + round_up(c.count, kPadding), kNoScore);
  if (c.bias != nullptr)
    for (int64_t i = 0; i < c.count; ++i) s[i] = s[i] * c.scale + c.bias[head * kChunkKeys + i];
  const float scale = c.bias != nullptr ? 1.0F : c.scale;
  const VF inner = hn::Set(df, kCapped ? scale / c.softcap : scale * kLog2E), cap = hn::Set(df, c.softcap * kLog2E);
  VF highest = hn::Set(df, kNoScore);
  for (int64_t i = 0; i < c.count; i += lanes) {
    VF value = hn::Mul(hn::Load(df, s + i), inner);
    if constexpr (kCapped) value = hn::Mul(cap, tanh(value));
    hn::Store(value, df, s + i);
    highest = hn::Max(
        highest, hn::IfThenElse(hn::Lt(hn::Iota(df, static_cast<float>(i)), hn::Set(df, static_cast<float>(c.count))),
                                value, highest));
  }
  const VF maximum = hn::MaxOfLanes(df, highest);
  VF sum = hn::Zero(df);
  for (int64_t i = 0; i < c.count; i += lanes) {
    const auto present = hn::Lt(hn::Iota(df, static_cast<float>(i)), hn::Set(df, static_cast<float>(c.count)));
    const VF p = hn::IfThenElseZero(present, exp2(hn::Sub(hn::Load(df, s + i), maximum)));
    sum = hn::Add(sum, p);
    hn::Store(p, df, s + i);
  }
  c.maximum[head] = hn::GetLane(maximum);
  c.sum[head] = hn::GetLane(hn::SumOfLanes(df, sum));
}
HWY_ATTR void normalize(const Chunk& c, int64_t head) {
  c.softcap > 0.0F ? normalize_scores<true>(c, head) : normalize_scores<false>(c, head);
}

template <DType kType, int kHeads>
HWY_ATTR void attend_heads(const Chunk& c, int64_t head) {
  score<kType, kHeads>(c, head);
  for (int64_t h = 0; h < kHeads; ++h) normalize(c, head + h);
  weigh<kType, kHeads>(c, head);
}

template <DType kType>
HWY_ATTR void attend_group(const Chunk& c) {
  int64_t head = 0;
  for (; head + 4 <= c.group; head += 4) attend_heads<kType, 4>(c, head);
  switch (c.group - head) {
    case 3:
      return attend_heads<kType, 3>(c, head);
    case 2:
      return attend_heads<kType, 2>(c, head);
    case 1:
      return attend_heads<kType, 1>(c, head);
    default:
      return;
  }
}

HWY_ATTR void attend_chunk(const Chunk& c) {
  switch (c.dtype) {
    case DType::bf16:
      return attend_group<DType::bf16>(c);
    case DType::f16:
      return attend_group<DType::f16>(c);
    case DType::q8_0:
      return attend_group<DType::q8_0>(c);
    case DType::q4_0:
      return attend_group<DType::q4_0>(c);
    default:
      return attend_group<DType::f32>(c);
  }
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
namespace {

HWY_EXPORT(attend_chunk);

struct Plan {
  int64_t group, padded_dim, padded_value_dim, chunks;
  // Shared: what each (batch, kv head, chunk) found. Per thread: q in f32, and scores.
  int64_t partial_floats, partial_bytes, thread_bytes;
};

Plan make_plan(const AttentionShape& s) {
  Plan plan{};
  plan.group = s.heads / s.kv_heads;
  plan.padded_dim = round_up(s.head_dim, kPadding);
  plan.padded_value_dim = round_up(s.values(), kPadding);
  plan.chunks = ceil_div(s.kv_len, kChunkKeys);
  plan.partial_floats = plan.group * plan.padded_value_dim + 2 * round_up(plan.group, kPadding);
  plan.partial_bytes = round_up(s.batch * s.kv_heads * plan.chunks * plan.partial_floats * 4, 64);
  const int64_t biases = s.alibi_factor != 0.0F ? kChunkKeys : 0;
  plan.thread_bytes = round_up(plan.group * (plan.padded_dim + kChunkKeys + biases) * 4, 64);
  return plan;
}

float element(const void* tensor, DType dtype, int64_t i) {
  return dtype == DType::bf16 ? bf16_to_f32(static_cast<const uint16_t*>(tensor)[i])
                              : static_cast<const float*>(tensor)[i];
}

// One call's tensors; see decode_forward.
struct Decode {
  const AttentionShape& s;
  const Plan plan;
  const void *q, *k, *v;
  const int32_t *segment_ids, *segment_start;
  void* out;
  float* lse;
  void* workspace;
  const void* sinks;

  float* partial(int64_t tile) const { return static_cast<float*>(workspace) + tile * plan.partial_floats; }
  // Of each head of the group the highest score, and behind `sum_offset` the sum of the others over it.
  float* sums(int64_t tile) const { return partial(tile) + plan.group * plan.padded_value_dim; }
  int64_t sum_offset() const { return round_up(plan.group, kPadding); }

  int64_t keys_of_chunk(int64_t batch, int64_t chunk, std::array<int32_t, kChunkKeys>& keys) const;
  void load_queries(int64_t batch, int64_t kv_head, float* rows) const;
  void fill_biases(int64_t batch, int64_t kv_head, std::span<const int32_t> keys, float* biases) const;
  void attend(int64_t index, int thread) const;
  void join(int64_t row) const;
};

// Which keys of the chunk the query sees.
int64_t Decode::keys_of_chunk(int64_t batch, int64_t chunk, std::array<int32_t, kChunkKeys>& keys) const {
  const int64_t position = s.q_offset, first = chunk * kChunkKeys;
  const int32_t* ids = segment_ids == nullptr ? nullptr : segment_ids + batch * s.kv_len;
  int64_t lo = s.window > 0 ? std::max<int64_t>(0, position - s.window + 1) : 0;
  if (segment_start != nullptr) lo = std::max<int64_t>(lo, segment_start[batch * s.kv_len + position]);
  int64_t count = 0;
  for (int64_t key = std::max(first, lo); key <= std::min(position, first + kChunkKeys - 1); ++key)
    if (ids == nullptr || (ids[key] >= 0 && ids[key] == ids[position]))
      keys[static_cast<size_t>(count++)] = static_cast<int32_t>(key);
  return count;
}

// The group's heads in f32, padded with zeros.
void Decode::load_queries(int64_t batch, int64_t kv_head, float* rows) const {
  for (int64_t g = 0; g < plan.group; ++g)
    for (int64_t i = 0; i < plan.padded_dim; ++i)
      rows[g * plan.padded_dim + i] =
          i < s.head_dim ? element(q, s.dtype, batch * s.q_row_stride + kv_head * s.group_stride() + g * s.head_dim + i)
                         : 0.0F;
}

void Decode::fill_biases(int64_t batch, int64_t kv_head, std::span<const int32_t> keys, float* biases) const {
  const int64_t position = s.q_offset;
  const int64_t start = segment_start == nullptr ? 0 : segment_start[batch * s.kv_len + position];
  for (int64_t g = 0; g < plan.group; ++g) {
    const int64_t head = kv_head * plan.group + g;
    const float slope = alibi_slope(s, head);
    for (size_t i = 0; i < keys.size(); ++i)
      biases[g * kChunkKeys + static_cast<int64_t>(i)] =
          slope * static_cast<float>(keys[i] - position) + alibi_rounding(s, head, static_cast<float>(keys[i] - start));
  }
}

// What one chunk of keys gives the heads that share it.
void Decode::attend(int64_t index, int thread) const {
  // Heads of one chunk follow each other: they share pages.
  const int64_t batch = index / (s.kv_heads * plan.chunks), chunk_index = index / s.kv_heads % plan.chunks;
  const int64_t kv_head = index % s.kv_heads, tile = (batch * s.kv_heads + kv_head) * plan.chunks + chunk_index;
  std::array<int32_t, kChunkKeys> keys;
  const int64_t count = keys_of_chunk(batch, chunk_index, keys);
  float* const found = sums(tile);
  if (count == 0) {
    std::fill(found, found + 2 * sum_offset(), 0.0F);
    return;
  }
  auto* const q_rows =
      reinterpret_cast<float*>(static_cast<char*>(workspace) + plan.partial_bytes + thread * plan.thread_bytes);
  load_queries(batch, kv_head, q_rows);
  float* const biases = s.alibi_factor == 0.0F ? nullptr : q_rows + plan.group * (plan.padded_dim + kChunkKeys);
  if (biases != nullptr) fill_biases(batch, kv_head, {keys.data(), static_cast<size_t>(count)}, biases);
  const auto kv_bytes = [&](int64_t elements) { return dtype_bytes(s.kv_dtype(), elements); };
  const Chunk chunk = {
      static_cast<const char*>(k) + kv_bytes(batch * s.kv_len * s.k_row_stride + kv_head * s.head_stride()),
      static_cast<const char*>(v) + kv_bytes(batch * s.kv_len * s.v_row_stride + kv_head * s.value_stride()),
      kv_bytes(s.k_row_stride),
      kv_bytes(s.v_row_stride),
      s.kv_dtype(),
      s.head_dim,
      plan.padded_dim,
      s.values(),
      plan.padded_value_dim,
      plan.group,
      keys.data(),
      count,
      s.scale,
      s.softcap,
      biases,
      q_rows,
      q_rows + plan.group * plan.padded_dim,
      found,
      found + sum_offset(),
      partial(tile)};
  HWY_DYNAMIC_DISPATCH(attend_chunk)(chunk);
}

// The chunks of one (batch, kv head) put together, head by head.
void Decode::join(int64_t row) const {
  for (int64_t g = 0; g < plan.group; ++g) {
    float maximum = kNoScore, total = 0.0F;
    const auto each_chunk = [&](auto&& body) {
      for (int64_t tile = row * plan.chunks; tile < (row + 1) * plan.chunks; ++tile)
        if (sums(tile)[sum_offset() + g] != 0.0F) body(tile, sums(tile)[g], sums(tile)[sum_offset() + g]);
    };
    each_chunk([&](int64_t, float chunk_maximum, float) { maximum = std::max(maximum, chunk_maximum); });
    each_chunk([&](int64_t, float chunk_maximum, float sum) { total += sum * std::exp2(chunk_maximum - maximum); });
    const int64_t batch = row / s.kv_heads, head = row % s.kv_heads * plan.group + g;
    if (sinks != nullptr && total != 0.0F) {
      const float sink2 = sink_of(s, sinks, head) * kLog2E, highest = std::max(maximum, sink2);
      total = total * std::exp2(maximum - highest) + std::exp2(sink2 - highest);
      maximum = highest;
    }
    const int64_t at = batch * s.out_row_stride + head * s.values();
    for (int64_t first = 0; first < s.values(); first += kPadding) {
      std::array<float, kPadding> values{};
      each_chunk([&](int64_t tile, float chunk_maximum, float) {
        const float weight = std::exp2(chunk_maximum - maximum) / total;
        const float* from = partial(tile) + g * plan.padded_value_dim + first;
        for (size_t i = 0; i < values.size(); ++i) values[i] += weight * from[i];
      });
      for (int64_t i = 0; i < std::min(kPadding, s.values() - first); ++i) {
        const float value = values[static_cast<size_t>(i)];
        if (s.dtype == DType::bf16) static_cast<uint16_t*>(out)[at + first + i] = f32_to_bf16(value);
        else static_cast<float*>(out)[at + first + i] = value;
      }
    }
    if (lse != nullptr) lse[batch * s.heads + head] = total == 0.0F ? 0.0F : maximum * kLn2 + std::log(total);
  }
}

}  // namespace

int64_t decode_workspace_bytes(const AttentionShape& shape, int threads) {
  const Plan plan = make_plan(shape);
  return plan.partial_bytes + plan.thread_bytes * threads;
}

void decode_forward(ThreadPool& pool, const AttentionShape& s, const void* q, const void* k, const void* v,
                    const int32_t* segment_ids, const int32_t* segment_start, void* out, float* lse, void* workspace,
                    const void* sinks) {
  const Decode decode{s, make_plan(s), q, k, v, segment_ids, segment_start, out, lse, workspace, sinks};
  pool.parallel_for(s.batch * s.kv_heads * decode.plan.chunks,
                    [&](int64_t index, int thread) { decode.attend(index, thread); });
  pool.parallel_for(s.batch * s.kv_heads, [&](int64_t row, int) { decode.join(row); });
}

}  // namespace plimsoll::cpu
#endif
