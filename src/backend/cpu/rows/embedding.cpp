#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rows/embedding.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
// clang-format on

#include <algorithm>

#include "backend/cpu/rows/embedding.h"
#include "base/bytes.h"
#include "base/error.h"
#include "quant/packed_matrix.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

template <typename W, typename T>
HWY_INLINE void gather_row(const W* from, float scale, T* to, int64_t n) {
  const auto factor = hn::Set(Floats(), scale);
  for_vectors(n, [&](int64_t i, auto lane) { lane.put(hn::Mul(factor, lane.get(from + i)), to + i); });
}

// A part of a row at a time.
template <typename T>
HWY_INLINE void gather_packed_row(const EmbeddingSpec& spec, const PackedMatrix& table, int64_t id, T* to) {
  constexpr int64_t kPart = 1024;
  HWY_ALIGN float part[kPart];
  for (int64_t begin = 0; begin < spec.width; begin += kPart) {
    const int64_t count = std::min(kPart, spec.width - begin);
    unpack_tile(table, id, 1, begin, count, part, kPart);
    gather_row(part, spec.scale, to + begin, count);
  }
}

void embedding_row(const EmbeddingSpec& spec, const void* weight, int64_t id, void* out, int64_t row) {
  if (is_packed(spec.weight_dtype)) {
    const PackedMatrix table{spec.weight_dtype, spec.first_row + spec.vocab, spec.width,
                             static_cast<const std::byte*>(weight)};
    if (spec.dtype == DType::f32)
      gather_packed_row(spec, table, spec.first_row + id, static_cast<float*>(out) + row * spec.width);
    else gather_packed_row(spec, table, spec.first_row + id, static_cast<uint16_t*>(out) + row * spec.width);
    return;
  }
  const int64_t from = (spec.first_row + id) * spec.width;
  const int64_t to = row * spec.width;
  const auto* const wf = static_cast<const float*>(weight) + from;
  const auto* const wb = static_cast<const uint16_t*>(weight) + from;
  auto* const of = static_cast<float*>(out) + to;
  auto* const ob = static_cast<uint16_t*>(out) + to;
  if (spec.weight_dtype == DType::f32) {
    if (spec.dtype == DType::f32) gather_row(wf, spec.scale, of, spec.width);
    else gather_row(wf, spec.scale, ob, spec.width);
  } else {
    if (spec.dtype == DType::f32) gather_row(wb, spec.scale, of, spec.width);
    else gather_row(wb, spec.scale, ob, spec.width);
  }
}

template <typename T>
HWY_INLINE void scatter_columns(const EmbeddingSpec& spec, const int32_t* ids, const T* dy, float* d_weight,
                                int64_t begin, int64_t count) {
  const auto factor = hn::Set(Floats(), spec.scale);
  for (int64_t row = 0; row < spec.rows; ++row) {
    const T* const from = dy + row * spec.width + begin;
    float* const to = d_weight + (spec.first_row + ids[row]) * spec.width + begin;
    for_vectors(count, [&](int64_t i, auto lane) {
      lane.put(hn::MulAdd(factor, lane.get(from + i), lane.get(to + i)), to + i);
    });
  }
}

void embedding_scatter(const EmbeddingSpec& spec, const int32_t* ids, const void* dy, float* d_weight, int64_t begin,
                       int64_t count) {
  if (spec.dtype == DType::f32) scatter_columns(spec, ids, static_cast<const float*>(dy), d_weight, begin, count);
  else scatter_columns(spec, ids, static_cast<const uint16_t*>(dy), d_weight, begin, count);
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(embedding_row);
HWY_EXPORT(embedding_scatter);

namespace {

constexpr int64_t kRowTile = 32;
constexpr int64_t kColumnTile = 64;

void check(const EmbeddingSpec& spec, const int32_t* ids) {
  const auto known = [](DType d) { return d == DType::f32 || d == DType::bf16; };
  PLIMSOLL_CHECK(known(spec.dtype) && (known(spec.weight_dtype) || is_packed(spec.weight_dtype)),
                 "activations are f32 or bf16, tables too or packed");
  for (int64_t row = 0; row < spec.rows; ++row)
    PLIMSOLL_CHECK(ids[row] >= 0 && ids[row] < spec.vocab, "token id outside the vocabulary");
}

}  // namespace

void embedding_forward(ThreadPool& pool, const EmbeddingSpec& spec, const int32_t* ids, const void* weight, void* out) {
  check(spec, ids);
  pool.parallel_for(ceil_div(spec.rows, kRowTile), [&](int64_t tile, int) {
    for (int64_t row = tile * kRowTile; row < std::min(spec.rows, (tile + 1) * kRowTile); ++row)
      HWY_DYNAMIC_DISPATCH(embedding_row)(spec, weight, ids[row], out, row);
  });
}

// Tiles are ranges of columns, so that equal ids never meet in two threads and every sum keeps the order of the rows.
void embedding_backward(ThreadPool& pool, const EmbeddingSpec& spec, const int32_t* ids, const void* dy,
                        float* d_weight) {
  check(spec, ids);
  pool.parallel_for(ceil_div(spec.width, kColumnTile), [&](int64_t tile, int) {
    const int64_t begin = tile * kColumnTile;
    HWY_DYNAMIC_DISPATCH(embedding_scatter)(spec, ids, dy, d_weight, begin, std::min(kColumnTile, spec.width - begin));
  });
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
