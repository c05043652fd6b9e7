#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/matmul/linear_cross_entropy.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>

#include "backend/cpu/matmul/linear_cross_entropy.h"
#include "backend/cpu/matmul/matmul.h"
#include "base/bytes.h"
#include "base/error.h"
#include "quant/packed_matrix.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

float largest(const float* values, int64_t n) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto top = hn::Set(d, values[0]);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) top = hn::Max(top, load(values + i));
  float max = hn::GetLane(hn::MaxOfLanes(d, top));
  for (; i < n; ++i) max = std::max(max, values[i]);
  return max;
}

// How a logit z counts: as it is, or capped. `slope` is d capped / dz, with which the kept exponential is a gradient.
struct Uncapped {
  HWY_INLINE VecF operator()(VecF z) const { return z; }
  HWY_INLINE VecF with_slope(VecF e, VecF) const { return e; }
};
struct Capped {
  float cap;
  HWY_INLINE VecF operator()(VecF z) const {
    const Floats d;
    return hn::Mul(hn::Set(d, cap), hn::Tanh(d, hn::Mul(z, hn::Set(d, 1.0F / cap))));
  }
  HWY_INLINE VecF with_slope(VecF e, VecF capped) const {
    const Floats d;
    const auto t = hn::Mul(capped, hn::Set(d, 1.0F / cap));
    return hn::Mul(e, hn::NegMulAdd(t, t, hn::Set(d, 1.0F)));
  }
};

// out = exp(z - reference) · dz, not written when null; returns the sum of the exponentials, taken before rounding.
template <typename T, typename Cap>
HWY_INLINE float exp_span(Cap cap, const float* logits, float reference, T* out, int64_t n) {
  const Floats d;
  const auto shift = hn::Set(d, reference);
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto z = cap(load(logits + i));
    const auto e = hn::Exp(d, hn::Sub(z, shift));
    sum = hn::Add(sum, e);
    if (out != nullptr) store(cap.with_slope(e, z), out + i);
  }
  float total = sum_of_lanes(sum);
  if (i < n) {
    const auto z = cap(load_some(logits + i, static_cast<size_t>(n - i)));
    const auto e = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(n - i)), hn::Exp(d, hn::Sub(z, shift)));
    total += sum_of_lanes(e);
    if (out != nullptr) store_some(cap.with_slope(e, z), out + i, static_cast<size_t>(n - i));
  }
  return total;
}
float exp_f32(const float* logits, float reference, float cap, float* out, int64_t n) {
  return cap > 0 ? exp_span(Capped{cap}, logits, reference, out, n) : exp_span(Uncapped{}, logits, reference, out, n);
}
float exp_bf16(const float* logits, float reference, float cap, uint16_t* out, int64_t n) {
  return cap > 0 ? exp_span(Capped{cap}, logits, reference, out, n) : exp_span(Uncapped{}, logits, reference, out, n);
}

template <typename T>
HWY_INLINE float dot_span(const T* a, const T* b, int64_t n) {
  auto sum = hn::Zero(Floats());
  for_vectors(n, [&](int64_t i, auto lane) { sum = hn::MulAdd(lane.get(a + i), lane.get(b + i), sum); });
  return sum_of_lanes(sum);
}
float dot(DType dtype, const void* a, const void* b, int64_t n) {
  if (dtype == DType::f32) return dot_span(static_cast<const float*>(a), static_cast<const float*>(b), n);
  return dot_span(static_cast<const uint16_t*>(a), static_cast<const uint16_t*>(b), n);
}

// out = factor · a + extra · b; out may be a.
template <typename A, typename T>
HWY_INLINE void combine_span(float factor, const A* a, float extra, const T* b, T* out, int64_t n) {
  const auto f = hn::Set(Floats(), factor);
  const auto e = hn::Set(Floats(), extra);
  for_vectors(n, [&](int64_t i, auto lane) {
    auto v = hn::Mul(f, lane.get(a + i));
    if (b != nullptr) v = hn::MulAdd(e, lane.get(b + i), v);
    lane.put(v, out + i);
  });
}
void combine(DType dtype, float factor, const float* a, float extra, const void* b, void* out, int64_t n) {
  if (dtype == DType::f32) combine_span(factor, a, extra, static_cast<const float*>(b), static_cast<float*>(out), n);
  else combine_span(factor, a, extra, static_cast<const uint16_t*>(b), static_cast<uint16_t*>(out), n);
}
void scale_row(DType dtype, float factor, void* row, int64_t n) {
  if (dtype == DType::f32)
    combine_span<float, float>(factor, static_cast<float*>(row), 0, nullptr, static_cast<float*>(row), n);
  else
    combine_span<uint16_t, uint16_t>(factor, static_cast<uint16_t*>(row), 0, nullptr, static_cast<uint16_t*>(row), n);
}

// sum += factor · a
void add_row(DType dtype, float factor, const void* a, float* sum, int64_t n) {
  const auto f = hn::Set(Floats(), factor);
  if (dtype == DType::f32)
    for_vectors(n, [&](int64_t i, auto lane) {
      lane.put(hn::MulAdd(f, lane.get(static_cast<const float*>(a) + i), lane.get(sum + i)), sum + i);
    });
  else
    for_vectors(n, [&](int64_t i, auto lane) {
      lane.put(hn::MulAdd(f, lane.get(static_cast<const uint16_t*>(a) + i), lane.get(sum + i)), sum + i);
    });
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(largest);
HWY_EXPORT(exp_f32);
HWY_EXPORT(exp_bf16);
HWY_EXPORT(dot);
HWY_EXPORT(combine);
HWY_EXPORT(scale_row);
HWY_EXPORT(add_row);

namespace {

// exp(logit - reference) stays finite, and so do its sums and products, up to this difference.
constexpr float kMaxExponent = 60;

int64_t element_size(DType dtype) { return dtype == DType::f32 ? 4 : 2; }
int64_t chunk_of(const LinearCrossEntropySpec& spec) {
  return std::min(std::max<int64_t>(1, spec.chunk_rows), std::max<int64_t>(1, spec.rows));
}

MatmulSpec logits_spec(const LinearCrossEntropySpec& s) {  // hidden · weightᵀ
  return {
      .m = chunk_of(s), .n = s.vocab, .k = s.width, .a = s.dtype, .b = s.weight, .transpose_b = true, .consumed = true};
}
MatmulSpec d_hidden_spec(const LinearCrossEntropySpec& s) {  // exponentials · weight
  return {.m = chunk_of(s), .n = s.width, .k = s.vocab, .a = s.dtype, .b = s.weight};
}
MatmulSpec d_weight_spec(const LinearCrossEntropySpec& s) {  // exponentialsᵀ · hidden
  return {.m = s.vocab,
          .n = s.width,
          .k = chunk_of(s),
          .a = s.dtype,
          .b = s.dtype,
          .transpose_a = true,
          .accumulate = true};
}

// One row of logits within one tile of columns.
struct TileSum {
  float reference;  // what was taken from the logits
  float sum;        // of exp(logit - reference)
  int32_t column, columns;
};

struct Row {
  int32_t row;  // of hidden
  int32_t label;
  float guess;              // the label's logit, near enough: the reference of all tiles that it suits
  float at_label;           // the label's logit as the product gave it, capped
  float factor;             // gradient of a logit = factor · exponential ...
  float at_label_gradient;  // ... but this at the label, whose exponential is stored as zero
};

struct Layout {
  int64_t exponentials, hidden, label_rows, d_hidden, counted, tile_sums, nll, matmul, total;
  int64_t tiles;
  Layout(const LinearCrossEntropySpec& s, const Matmul& logits, int threads) : tiles(logits.column_tiles()) {
    int64_t at = 0;
    const auto take = [&](int64_t bytes) {
      const int64_t begin = at;
      at += round_up(bytes, 64);
      return begin;
    };
    const int64_t chunk = chunk_of(s);
    exponentials = take(s.gradients ? chunk * s.vocab * element_size(s.dtype) : 0);
    hidden = take(chunk * s.width * element_size(s.dtype));
    label_rows = take(is_packed(s.weight) ? chunk * s.width * element_size(s.dtype) : 0);
    d_hidden = take(s.gradients ? chunk * s.width * 4 : 0);
    counted = take(s.rows * int64_t{sizeof(Row)});
    tile_sums = take(chunk * tiles * int64_t{sizeof(TileSum)});
    nll = take(chunk * 8);
    int64_t bytes = logits.workspace_bytes(threads);
    if (s.gradients) bytes = std::max(bytes, matmul_workspace_bytes(d_hidden_spec(s), threads));
    if (s.gradients && s.weight_gradient) bytes = std::max(bytes, matmul_workspace_bytes(d_weight_spec(s), threads));
    matmul = take(bytes);
    total = at;
  }
};

// The work on one chunk; pointers into the workspace.
struct Chunk {
  ThreadPool& pool;
  const LinearCrossEntropySpec& spec;
  const LinearCrossEntropyTensors& tensors;
  const int64_t tiles;
  std::byte* const exponentials;  // (chunk, V); null without gradients
  std::byte* const hidden;        // (chunk, H) gathered
  std::byte* const label_rows;    // (chunk, H) of a packed weight
  float* const d_hidden;          // (chunk, H)
  TileSum* const tile_sums;       // (chunk, tiles)
  double* const nll;
  void* const workspace;
  const int64_t row_bytes;
  Row* rows = nullptr;
  int64_t count = 0;

  float bias_at(int64_t id) const {
    if (spec.bias == DType::f32) return static_cast<const float*>(tensors.bias)[id];
    return bf16_to_f32(static_cast<const uint16_t*>(tensors.bias)[id]);
  }
  std::byte* exponential(int64_t row, int64_t column) const {
    return exponentials + (row * spec.vocab + column) * element_size(spec.dtype);
  }
  // The row of the weight that belongs to the label of row `i`.
  const std::byte* label_row(int64_t i) const {
    if (is_packed(spec.weight)) return label_rows + i * row_bytes;
    return static_cast<const std::byte*>(tensors.weight) + rows[i].label * row_bytes;
  }
  void unpack_label_row(int64_t i) const {
    const PackedMatrix weight{spec.weight, spec.vocab, spec.width, static_cast<const std::byte*>(tensors.weight)};
    std::byte* const out = label_rows + i * row_bytes;
    if (spec.dtype == DType::f32)
      unpack_tile(weight, rows[i].label, 1, 0, spec.width, reinterpret_cast<float*>(out), spec.width);
    else unpack_tile(weight, rows[i].label, 1, 0, spec.width, reinterpret_cast<uint16_t*>(out), spec.width);
  }

  template <typename Body>
  void for_rows(Body&& body) const {
    pool.parallel_for(ceil_div(count, 16), [&](int64_t tile, int) {
      for (int64_t i = tile * 16; i < std::min(count, (tile + 1) * 16); ++i) body(i);
    });
  }

  void gather() const {
    for_rows([&](int64_t i) {
      std::memcpy(hidden + i * row_bytes, static_cast<const std::byte*>(tensors.hidden) + rows[i].row * row_bytes,
                  static_cast<size_t>(row_bytes));
      if (is_packed(spec.weight)) unpack_label_row(i);
      rows[i].guess = HWY_DYNAMIC_DISPATCH(dot)(spec.dtype, hidden + i * row_bytes, label_row(i), spec.width);
      if (tensors.bias != nullptr) rows[i].guess += bias_at(rows[i].label);
      rows[i].guess = capped(rows[i].guess);
      std::fill_n(tile_sums + i * tiles, tiles, TileSum{rows[i].guess, 0, 0, 0});
    });
    const int64_t idle = chunk_of(spec) - count;  // the last chunk is filled up with rows of zeros
    std::memset(hidden + count * row_bytes, 0, static_cast<size_t>(idle * row_bytes));
    if (exponentials != nullptr)
      std::memset(exponential(count, 0), 0, static_cast<size_t>(idle * spec.vocab * element_size(spec.dtype)));
  }

  // A single logit, and the slope there.
  float capped(float z) const { return spec.softcap > 0 ? spec.softcap * std::tanh(z / spec.softcap) : z; }
  double slope(float z_capped) const {
    const double t = spec.softcap > 0 ? static_cast<double>(z_capped) / static_cast<double>(spec.softcap) : 0.0;
    return 1.0 - t * t;
  }

  // Turns a tile of logits into exponentials while it is in cache.
  void consume(const MatmulTile& tile) const {
    for (int64_t i = 0; i < tile.rows && tile.row + i < count; ++i) {
      float* const logits = tile.values + i * tile.stride;
      if (tensors.bias != nullptr) {
        const auto* const bias = static_cast<const std::byte*>(tensors.bias) + tile.column * element_size(spec.bias);
        HWY_DYNAMIC_DISPATCH(add_row)(spec.bias, 1.0F, bias, logits, tile.columns);
      }
      Row& row = rows[tile.row + i];
      const float top = capped(HWY_DYNAMIC_DISPATCH(largest)(logits, tile.columns));  // a cap keeps the order
      const float reference = top > row.guess + kMaxExponent ? top : row.guess;
      std::byte* const out = exponentials == nullptr ? nullptr : exponential(tile.row + i, tile.column);
      const float sum = spec.dtype == DType::f32
                            ? HWY_DYNAMIC_DISPATCH(exp_f32)(logits, reference, spec.softcap,
                                                            reinterpret_cast<float*>(out), tile.columns)
                            : HWY_DYNAMIC_DISPATCH(exp_bf16)(logits, reference, spec.softcap,
                                                             reinterpret_cast<uint16_t*>(out), tile.columns);
      tile_sums[(tile.row + i) * tiles + tile.column_tile] = {reference, sum, static_cast<int32_t>(tile.column),
                                                              static_cast<int32_t>(tile.columns)};
      const int64_t label = row.label - tile.column;
      if (label < 0 || label >= tile.columns) continue;
      row.at_label = capped(logits[label]);
      if (out != nullptr)
        std::memset(out + label * element_size(spec.dtype), 0, static_cast<size_t>(element_size(spec.dtype)));
    }
  }

  // Joins the tiles of each row: its loss, and what makes its exponentials a gradient.
  void reduce() const {
    const auto scale = static_cast<double>(*tensors.loss_scale);
    for_rows([&](int64_t i) {
      Row& row = rows[i];
      const std::span<const TileSum> sums(tile_sums + i * tiles, static_cast<size_t>(tiles));
      float reference = row.guess;
      for (const TileSum& tile : sums) reference = std::max(reference, tile.reference);
      double total = 0;
      for (const TileSum& tile : sums) {
        const double lag = std::exp(static_cast<double>(tile.reference) - static_cast<double>(reference));
        total += static_cast<double>(tile.sum) * lag;
        if (exponentials != nullptr && tile.reference != reference) HWY_DYNAMIC_DISPATCH(scale_row)
        (spec.dtype, static_cast<float>(lag), exponential(i, tile.column), tile.columns);
      }
      const double above = static_cast<double>(reference) - static_cast<double>(row.at_label);
      nll[i] = std::log(total) + above;
      row.factor = static_cast<float>(scale / total);
      row.at_label_gradient = static_cast<float>(scale * (std::exp(-above) / total - 1.0) * slope(row.at_label));
    });
  }

  void add_d_weight() const {
    // Labels by rows first: hidden is scaled afterwards. Columns are shared out, so that each sum keeps the order of
    // the rows.
    constexpr int64_t kColumns = 64;
    pool.parallel_for(ceil_div(spec.width, kColumns), [&](int64_t tile, int) {
      const int64_t column = tile * kColumns;
      for (int64_t i = 0; i < count; ++i) HWY_DYNAMIC_DISPATCH(add_row)
      (spec.dtype, rows[i].at_label_gradient, hidden + i * row_bytes + column * element_size(spec.dtype),
       tensors.d_weight + rows[i].label * spec.width + column, std::min(kColumns, spec.width - column));
    });
    for_rows([&](int64_t i) {
      HWY_DYNAMIC_DISPATCH(scale_row)(spec.dtype, rows[i].factor, hidden + i * row_bytes, spec.width);
    });
    Matmul(d_weight_spec(spec)).run_part(pool, spec.vocab, count, exponentials, hidden, tensors.d_weight, workspace);
  }

  void add_d_bias() const {
    constexpr int64_t kColumns = 1024;
    pool.parallel_for(ceil_div(spec.vocab, kColumns), [&](int64_t tile, int) {
      const int64_t column = tile * kColumns, columns = std::min(kColumns, spec.vocab - column);
      for (int64_t i = 0; i < count; ++i) HWY_DYNAMIC_DISPATCH(add_row)
      (spec.dtype, rows[i].factor, exponential(i, column), tensors.d_bias + column, columns);
    });
    for (int64_t i = 0; i < count; ++i) tensors.d_bias[rows[i].label] += rows[i].at_label_gradient;
  }

  void write_d_hidden() const {
    Matmul(d_hidden_spec(spec)).run_part(pool, count, spec.vocab, exponentials, tensors.weight, d_hidden, workspace);
    for_rows([&](int64_t i) {
      HWY_DYNAMIC_DISPATCH(combine)
      (spec.dtype, rows[i].factor, d_hidden + i * spec.width, rows[i].at_label_gradient, label_row(i),
       static_cast<std::byte*>(tensors.d_hidden) + rows[i].row * row_bytes, spec.width);
    });
  }
};

}  // namespace

int64_t linear_cross_entropy_workspace_bytes(const LinearCrossEntropySpec& spec, int threads) {
  return Layout(spec, Matmul(logits_spec(spec)), threads).total;
}

void prepare_linear_cross_entropy(const LinearCrossEntropySpec& spec) {
  (void)linear_cross_entropy_workspace_bytes(spec, 1);
}

void linear_cross_entropy(ThreadPool& pool, const LinearCrossEntropySpec& spec, const LinearCrossEntropyTensors& t,
                          void* workspace) {
  PLIMSOLL_CHECK(spec.dtype == DType::f32 || spec.dtype == DType::bf16, "activations are f32 or bf16");
  const bool gradients = t.d_hidden != nullptr || t.d_weight != nullptr || t.d_bias != nullptr;
  PLIMSOLL_CHECK(spec.weight == spec.dtype || (is_packed(spec.weight) && t.d_weight == nullptr),
                 "the weight is as the activations, or packed and frozen");
  PLIMSOLL_CHECK(!gradients || spec.gradients, "planned without gradients");
  PLIMSOLL_CHECK(t.d_weight == nullptr || spec.weight_gradient, "planned without the weight's gradient");
  const Matmul logits(logits_spec(spec));
  const Layout layout(spec, logits, pool.threads());
  auto* const base = static_cast<std::byte*>(workspace);
  auto* const rows = reinterpret_cast<Row*>(base + layout.counted);
  Chunk chunk{pool,
              spec,
              t,
              layout.tiles,
              gradients ? base + layout.exponentials : nullptr,
              base + layout.hidden,
              base + layout.label_rows,
              reinterpret_cast<float*>(base + layout.d_hidden),
              reinterpret_cast<TileSum*>(base + layout.tile_sums),
              reinterpret_cast<double*>(base + layout.nll),
              base + layout.matmul,
              spec.width * element_size(spec.dtype)};
  const auto for_ignored = [&](auto&& body) {
    for (int64_t row = 0; row < spec.rows; ++row)
      if (t.labels[row] == kIgnoredLabel) body(row);
  };

  int64_t counted = 0;
  for (int64_t row = 0; row < spec.rows; ++row) {
    if (t.labels[row] == kIgnoredLabel) continue;
    PLIMSOLL_CHECK(t.labels[row] >= 0 && t.labels[row] < spec.vocab, "label outside the vocabulary");
    rows[counted++] = {static_cast<int32_t>(row), t.labels[row], 0, 0, 0, 0};
  }
  double nll_sum = 0;
  for (int64_t begin = 0; begin < counted; begin += chunk_of(spec)) {
    chunk.rows = rows + begin;
    chunk.count = std::min(chunk_of(spec), counted - begin);
    chunk.gather();
    logits.run_tiles(pool, chunk.count, chunk.hidden, t.weight, chunk.workspace,
                     [&](const MatmulTile& tile) { chunk.consume(tile); });
    chunk.reduce();
    for (int64_t i = 0; i < chunk.count; ++i) {
      nll_sum += chunk.nll[i];
      if (t.nll != nullptr) t.nll[chunk.rows[i].row] = static_cast<float>(chunk.nll[i]);
    }
    if (t.d_bias != nullptr) chunk.add_d_bias();
    if (t.d_weight != nullptr) chunk.add_d_weight();
    if (t.d_hidden != nullptr) chunk.write_d_hidden();
  }
  for_ignored([&](int64_t row) {
    if (t.nll != nullptr) t.nll[row] = 0;
    if (t.d_hidden != nullptr)
      std::memset(static_cast<std::byte*>(t.d_hidden) + row * chunk.row_bytes, 0, static_cast<size_t>(chunk.row_bytes));
  });
  *t.loss_sum += static_cast<float>(nll_sum * static_cast<double>(*t.loss_scale));
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
