#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/matmul/grouped_matmul.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
// clang-format on

#include <algorithm>
#include <array>
#include <cstring>

#include "backend/cpu/matmul/grouped_matmul.h"
#include "backend/cpu/matmul/matmul.h"
#include "backend/cpu/matmul/packed_dot.h"
#include "base/bytes.h"
#include "base/error.h"
#include "quant/rounding.h"

#ifndef PLIMSOLL_GROUPED_MATMUL_ONCE_
#define PLIMSOLL_GROUPED_MATMUL_ONCE_
namespace plimsoll::cpu {
namespace {

constexpr int64_t kTileRows = 64, kTileColumns = 64, kDepth = 256;
constexpr int64_t kSkinnyRows = 4;  // groups of so few rows read their matrix once, unpacked

// A matrix in memory, element (row, column) at row · row_stride + column · column_stride; one of them is 1.
struct View {
  const void* data;
  DType dtype;
  int64_t row_stride, column_stride;
};

// C (rows, columns) of one tile = A (rows, depth) · B (depth, columns), `scratch` of kScratchFloats.
struct TileJob {
  View a, b;                           // b: nothing where `weight` is
  std::optional<PackedMatrix> weight;  // all of the group's; B is a part of it, or of its transpose
  bool transpose_weight;               // B's columns are its rows
  int64_t column;                      // of the whole product, where B begins
  int64_t rows, columns, depth;
  float* scratch;
};
constexpr int64_t kScratchFloats = kTileRows * kDepth + kDepth * kTileColumns + kTileRows * kTileColumns;
constexpr int64_t kUnpackedFloats = kTileColumns * kDepth;  // behind it, for packed weights

}  // namespace
}  // namespace plimsoll::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

HWY_INLINE float widened(float v) { return v; }
HWY_INLINE float widened(uint16_t v) { return bf16_to_f32(v); }

// to (rows, to_stride) = the part of `from` from (row, column) on.
template <typename T>
HWY_INLINE void pack_part(const T* from, const View& v, int64_t row, int64_t column, int64_t rows, int64_t columns,
                          float* to, int64_t to_stride) {
  from += row * v.row_stride + column * v.column_stride;
  if (v.column_stride == 1) {
    for (int64_t r = 0; r < rows; ++r)
      for_vectors(columns, [&](int64_t i, auto lane) {
        lane.put(lane.get(from + r * v.row_stride + i), to + r * to_stride + i);
      });
    return;
  }
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t r = 0; r < rows; ++r) to[r * to_stride + c] = widened(from[r * v.row_stride + c * v.column_stride]);
}
HWY_INLINE void pack(const View& v, int64_t row, int64_t column, int64_t rows, int64_t columns, float* to,
                     int64_t to_stride) {
  if (v.dtype == DType::f32) pack_part(static_cast<const float*>(v.data), v, row, column, rows, columns, to, to_stride);
  else pack_part(static_cast<const uint16_t*>(v.data), v, row, column, rows, columns, to, to_stride);
}

// As pack, of packed weights, which are values of A's type.
HWY_INLINE void pack_weight(const TileJob& job, int64_t k, int64_t depth, float* to) {
  const bool turned = job.transpose_weight;
  float* const rows = turned ? job.scratch + kScratchFloats : to;
  const int64_t count = turned ? job.columns : depth, length = turned ? depth : job.columns;
  const int64_t stride = turned ? kDepth : kTileColumns;
  if (turned) unpack_tile(*job.weight, job.column, count, k, length, rows, stride);
  else unpack_tile(*job.weight, k, count, job.column, length, rows, stride);
  if (job.a.dtype == DType::bf16)
    for (int64_t r = 0; r < count; ++r)
      std::transform(rows + r * stride, rows + r * stride + length, rows + r * stride, nearest_bf16);
  if (!turned) return;
  pack({rows, DType::f32, 1, kDepth}, 0, 0, depth, job.columns, to, kTileColumns);
}

// kRows rows of C, two vectors wide, over one block of the depth.
template <int kRows>
HWY_INLINE void add_strip(const float* a, const float* b, int64_t depth, float* c) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  VecF sums[kRows][2];
  for (int r = 0; r < kRows; ++r)
    for (int half = 0; half < 2; ++half) sums[r][half] = hn::LoadU(d, c + r * kTileColumns + half * lanes);
  for (int64_t k = 0; k < depth; ++k) {
    const auto b0 = hn::LoadU(d, b + k * kTileColumns), b1 = hn::LoadU(d, b + k * kTileColumns + lanes);
    for (int r = 0; r < kRows; ++r) {
      const auto value = hn::Set(d, a[r * kDepth + k]);
      sums[r][0] = hn::MulAdd(value, b0, sums[r][0]);
      sums[r][1] = hn::MulAdd(value, b1, sums[r][1]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int half = 0; half < 2; ++half) hn::StoreU(sums[r][half], d, c + r * kTileColumns + half * lanes);
}

// Leaves C in the last part of the scratch, rows kTileColumns apart.
void multiply_tile(const TileJob& job) {
  constexpr int kRows = HWY_MAX_BYTES >= 64 ? 8 : 4;
  const int64_t width = 2 * static_cast<int64_t>(hn::Lanes(Floats()));
  float* const a = job.scratch;
  float* const b = a + kTileRows * kDepth;
  float* const c = b + kDepth * kTileColumns;
  const int64_t rows = (job.rows + kRows - 1) / kRows * kRows;
  const int64_t columns = (job.columns + width - 1) / width * width;
  std::memset(c, 0, static_cast<size_t>(rows * kTileColumns) * sizeof(float));
  for (int64_t k = 0; k < job.depth; k += kDepth) {
    const int64_t depth = std::min(kDepth, job.depth - k);
    // What is beyond the edges meets nothing that is read, but must be numbers.
    if (rows > job.rows)
      std::memset(a + job.rows * kDepth, 0, static_cast<size_t>((rows - job.rows) * kDepth) * sizeof(float));
    if (columns > job.columns) std::memset(b, 0, static_cast<size_t>(depth * kTileColumns) * sizeof(float));
    pack(job.a, 0, k, job.rows, depth, a, kDepth);
    if (job.weight) pack_weight(job, k, depth, b);
    else pack(job.b, k, 0, depth, job.columns, b, kTileColumns);
    for (int64_t x = 0; x < columns; x += width)
      for (int64_t r = 0; r < rows; r += kRows)
        add_strip<kRows>(a + r * kDepth, b + x, depth, c + r * kTileColumns + x);
  }
}

template <typename T>
HWY_INLINE void dots_of(const T* x, int64_t x_stride, const T* w, int64_t w_stride, int64_t rows, int64_t columns,
                        int64_t depth, float* c) {
  for (int64_t n = 0; n < columns; ++n)
    for (int64_t r = 0; r < rows; ++r) {
      auto sum = hn::Zero(Floats());
      for_vectors(depth, [&](int64_t i, auto lane) {
        sum = hn::MulAdd(lane.get(x + r * x_stride + i), lane.get(w + n * w_stride + i), sum);
      });
      c[r * kTileColumns + n] = sum_of_lanes(sum);
    }
}
// As multiply_tile, for few rows and a B whose columns are contiguous: nothing is packed.
void multiply_skinny(const TileJob& job) {
  float* const c = job.scratch + kTileRows * kDepth + kDepth * kTileColumns;
  if (job.a.dtype == DType::f32)
    dots_of(static_cast<const float*>(job.a.data), job.a.row_stride, static_cast<const float*>(job.b.data),
            job.b.column_stride, job.rows, job.columns, job.depth, c);
  else
    dots_of(static_cast<const uint16_t*>(job.a.data), job.a.row_stride, static_cast<const uint16_t*>(job.b.data),
            job.b.column_stride, job.rows, job.columns, job.depth, c);
}

// y = (accumulate: +=) c + bias
template <typename T>
HWY_INLINE void store_row(const float* c, const T* bias, bool accumulate, int64_t columns, T* y) {
  for_vectors(columns, [&](int64_t i, auto lane) {
    auto value = lane.get(c + i);
    if (bias != nullptr) value = hn::Add(value, lane.get(bias + i));
    if (accumulate) value = hn::Add(value, lane.get(y + i));
    lane.put(value, y + i);
  });
}
void store_f32(const float* c, const float* bias, bool accumulate, int64_t columns, float* y) {
  store_row(c, bias, accumulate, columns, y);
}
void store_bf16(const float* c, const uint16_t* bias, bool accumulate, int64_t columns, uint16_t* y) {
  store_row(c, bias, accumulate, columns, y);
}

// sum += each of `rows` rows
void add_rows(DType dtype, const void* from, int64_t stride, int64_t rows, int64_t columns, float* sum) {
  for_vectors(columns, [&](int64_t i, auto lane) {
    auto total = lane.get(sum + i);
    for (int64_t r = 0; r < rows; ++r)
      total = hn::Add(total, dtype == DType::f32 ? lane.get(static_cast<const float*>(from) + r * stride + i)
                                                 : lane.get(static_cast<const uint16_t*>(from) + r * stride + i));
    lane.put(total, sum + i);
  });
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(multiply_tile);
HWY_EXPORT(multiply_skinny);
HWY_EXPORT(store_f32);
HWY_EXPORT(store_bf16);
HWY_EXPORT(add_rows);

namespace {

int64_t element_bytes(DType dtype) {
  PLIMSOLL_CHECK(dtype == DType::f32 || dtype == DType::bf16, "operands are f32 or bf16");
  return dtype == DType::f32 ? 4 : 2;
}

const void* element_at(const void* p, DType dtype, int64_t i) {
  return static_cast<const char*>(p) + i * element_bytes(dtype);
}

int64_t slot_floats(const GroupedMatmulSpec& spec) {
  return round_up(kScratchFloats + (spec.packed ? kUnpackedFloats : 0), 16);
}
int64_t matrix_bytes_of(const GroupedMatmulSpec& spec) {
  if (spec.packed)
    return packed_bytes(*spec.packed, spec.transpose_weight ? spec.n : spec.k, spec.transpose_weight ? spec.k : spec.n);
  return spec.k * spec.n * element_bytes(spec.dtype);
}
int64_t table_bytes(const GroupedMatmulSpec& spec) {
  return round_up((spec.groups + 1) * static_cast<int64_t>(sizeof(int64_t)), 64);
}

void check_offsets(const GroupedMatmulSpec& spec, const int32_t* offsets) {
  PLIMSOLL_CHECK(offsets[0] == 0 && offsets[spec.groups] == spec.rows, "offsets cover all rows");
  for (int64_t g = 0; g < spec.groups; ++g) PLIMSOLL_CHECK(offsets[g] <= offsets[g + 1], "offsets do not go back");
}

// How many rows a product over one group is cut for: a small one is shared among threads by columns.
std::array<int64_t, 3> part_rows(const GroupedMatmulSpec& s) {
  return {std::min<int64_t>(64, s.rows), std::min<int64_t>(256, s.rows), s.rows};
}

int64_t part_for(const GroupedMatmulSpec& s, int64_t rows) {
  for (const int64_t most : part_rows(s))
    if (rows <= most) return most;
  return s.rows;
}

MatmulSpec part_spec(const GroupedMatmulSpec& s, int64_t rows, bool accumulate) {
  MatmulSpec spec;
  spec.m = rows;
  spec.n = s.n;
  spec.k = s.k;
  spec.a = spec.c = s.dtype;
  spec.b = s.packed.value_or(s.dtype);
  spec.transpose_b = s.transpose_weight;
  spec.accumulate = accumulate;
  return spec;
}

// accumulator (m, n) += leftᵀ right over a group's rows.
MatmulSpec gradient_spec(const GroupedMatmulSpec& s) {
  MatmulSpec spec;
  spec.m = s.transpose_weight ? s.n : s.k;
  spec.n = s.transpose_weight ? s.k : s.n;
  spec.k = s.rows;
  spec.a = spec.b = s.dtype;
  spec.transpose_a = spec.accumulate = true;
  return spec;
}

// Whether groups of more than a few rows go through Matmul.
bool in_parts(const GroupedMatmulSpec& s) {
  return s.dtype == DType::bf16 && s.rows > kSkinnyRows && s.k > 0 && s.n > 0 &&
         Matmul(part_spec(s, s.rows, false)).takes_parts();
}

// y's rows of each group = its bias, or += it.
void add_biases(ThreadPool& pool, const GroupedMatmulSpec& s, const int32_t* offsets, const uint16_t* bias,
                bool accumulate, uint16_t* y) {
  pool.parallel_for(s.groups, [&](int64_t g, int) {
    const uint16_t* const from = bias + g * s.n;
    for (int64_t row = offsets[g]; row < offsets[g + 1]; ++row)
      if (accumulate)
        for (int64_t i = 0; i < s.n; ++i)
          y[row * s.n + i] = f32_to_bf16(bf16_to_f32(y[row * s.n + i]) + bf16_to_f32(from[i]));
      else std::copy_n(from, s.n, y + row * s.n);
  });
}

}  // namespace

int64_t grouped_matmul_workspace_bytes(const GroupedMatmulSpec& spec, bool gradient, int threads) {
  int64_t bytes = threads * slot_floats(spec) * static_cast<int64_t>(sizeof(float));
  if (in_parts(spec)) {
    if (gradient) bytes = std::max(bytes, matmul_workspace_bytes(gradient_spec(spec), threads));
    for (const int64_t rows : part_rows(spec))
      for (const bool accumulate : {false, true})
        if (!gradient) bytes = std::max(bytes, matmul_workspace_bytes(part_spec(spec, rows, accumulate), threads));
  }
  return table_bytes(spec) + bytes;
}

void grouped_matmul(ThreadPool& pool, const GroupedMatmulSpec& s, const int32_t* offsets, const void* x,
                    const GroupMatrices& weights, const void* bias, bool accumulate, void* y, void* workspace) {
  check_offsets(s, offsets);
  const bool parts = in_parts(s);
  const auto rows_of = [&](int64_t g) { return int64_t{offsets[g + 1]} - offsets[g]; };
  const auto is_part = [&](int64_t g) { return parts && rows_of(g) > kSkinnyRows; };
  if (parts && bias != nullptr) {
    add_biases(pool, s, offsets, static_cast<const uint16_t*>(bias), accumulate, static_cast<uint16_t*>(y));
    accumulate = true;
    bias = nullptr;
  }
  auto* const first_block = static_cast<int64_t*>(workspace);  // row blocks before each group
  first_block[0] = 0;
  for (int64_t g = 0; g < s.groups; ++g)
    first_block[g + 1] = first_block[g] + (is_part(g) ? 0 : ceil_div(rows_of(g), kTileRows));
  const int64_t blocks = first_block[s.groups], column_tiles = ceil_div(s.n, kTileColumns);
  const int64_t matrix_bytes = matrix_bytes_of(s);
  auto* const scratch = reinterpret_cast<float*>(static_cast<char*>(workspace) + table_bytes(s));
  pool.parallel_for(blocks * column_tiles, [&](int64_t index, int thread) {
    const int64_t block = index % blocks, column = index / blocks * kTileColumns;  // neighbours share columns
    const int64_t g = std::upper_bound(first_block, first_block + s.groups + 1, block) - first_block - 1;
    const int64_t row = offsets[g] + (block - first_block[g]) * kTileRows;
    const int64_t rows = std::min<int64_t>(kTileRows, offsets[g + 1] - row);
    const int64_t columns = std::min(kTileColumns, s.n - column);
    const std::byte* const weight = weights.at(g, matrix_bytes);
    const View a{element_at(x, s.dtype, row * s.k), s.dtype, s.k, 1};
    TileJob job{a, {}, std::nullopt, s.transpose_weight, column, rows, columns, s.k, scratch + thread * slot_floats(s)};
    if (s.packed)
      job.weight =
          s.transpose_weight ? PackedMatrix{*s.packed, s.n, s.k, weight} : PackedMatrix{*s.packed, s.k, s.n, weight};
    else
      job.b = s.transpose_weight ? View{element_at(weight, s.dtype, column * s.k), s.dtype, 1, s.k}
                                 : View{element_at(weight, s.dtype, column), s.dtype, s.n, 1};
    float* const c = job.scratch + kTileRows * kDepth + kDepth * kTileColumns;
    if (rows > kSkinnyRows || !s.transpose_weight) HWY_DYNAMIC_DISPATCH(multiply_tile)(job);
    else if (s.packed) packed_dot({a.data, s.dtype, rows, s.k}, *job.weight, column, columns, c, kTileColumns);
    else HWY_DYNAMIC_DISPATCH(multiply_skinny)(job);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = (row + r) * s.n + column;
      const void* const row_bias = bias == nullptr ? nullptr : element_at(bias, s.dtype, g * s.n + column);
      if (s.dtype == DType::f32) HWY_DYNAMIC_DISPATCH(store_f32)
      (c + r * kTileColumns, static_cast<const float*>(row_bias), accumulate, columns, static_cast<float*>(y) + at);
      else HWY_DYNAMIC_DISPATCH(store_bf16)(c + r * kTileColumns, static_cast<const uint16_t*>(row_bias), accumulate,
                                            columns, static_cast<uint16_t*>(y) + at);
    }
  });
  if (!parts) return;
  for (int64_t g = 0; g < s.groups; ++g)
    if (is_part(g))
      Matmul(part_spec(s, part_for(s, rows_of(g)), accumulate))
          .run_part(pool, rows_of(g), s.k, element_at(x, s.dtype, offsets[g] * s.k), weights.at(g, matrix_bytes),
                    static_cast<char*>(y) + offsets[g] * s.n * element_bytes(s.dtype), scratch);
}

void grouped_matmul_weight_gradient(ThreadPool& pool, const GroupedMatmulSpec& s, const int32_t* offsets,
                                    const void* dy, const void* x, const GroupMatrices& accumulators, void* workspace) {
  check_offsets(s, offsets);
  // The accumulator is (m, n): of dyᵀ x, or of xᵀ dy where the weight is (k, n).
  const View of_dy{dy, s.dtype, s.n, 1}, of_x{x, s.dtype, s.k, 1};
  const View& left = s.transpose_weight ? of_dy : of_x;
  const View& right = s.transpose_weight ? of_x : of_dy;
  const int64_t m = left.row_stride, n = right.row_stride;
  const int64_t row_tiles = ceil_div(m, kTileRows), column_tiles = ceil_div(n, kTileColumns);
  const int64_t matrix_bytes = m * n * static_cast<int64_t>(sizeof(float));
  auto* const scratch = reinterpret_cast<float*>(static_cast<char*>(workspace) + table_bytes(s));
  if (in_parts(s)) {
    const Matmul product(gradient_spec(s));
    for (int64_t g = 0; g < s.groups; ++g)
      if (std::byte* const target = accumulators.at(g, matrix_bytes); target != nullptr)
        product.run_part(pool, m, offsets[g + 1] - offsets[g], element_at(left.data, s.dtype, offsets[g] * m),
                         element_at(right.data, s.dtype, offsets[g] * n), target, scratch);
    return;
  }
  pool.parallel_for(s.groups * row_tiles * column_tiles, [&](int64_t index, int thread) {
    const int64_t g = index / (row_tiles * column_tiles), tile = index % (row_tiles * column_tiles);
    auto* const target = reinterpret_cast<float*>(accumulators.at(g, matrix_bytes));
    const int64_t first = offsets[g], depth = offsets[g + 1] - first;
    if (depth == 0 || target == nullptr) return;
    const int64_t row = tile / column_tiles * kTileRows, column = tile % column_tiles * kTileColumns;
    const TileJob job{{element_at(left.data, s.dtype, first * m + row), s.dtype, 1, m},
                      {element_at(right.data, s.dtype, first * n + column), s.dtype, n, 1},
                      std::nullopt,
                      false,
                      column,
                      std::min(kTileRows, m - row),
                      std::min(kTileColumns, n - column),
                      depth,
                      scratch + thread * slot_floats(s)};
    HWY_DYNAMIC_DISPATCH(multiply_tile)(job);
    const float* const c = job.scratch + kTileRows * kDepth + kDepth * kTileColumns;
    for (int64_t r = 0; r < job.rows; ++r) HWY_DYNAMIC_DISPATCH(store_f32)
    (c + r * kTileColumns, nullptr, true, job.columns, target + (row + r) * n + column);
  });
}

void grouped_bias_gradient(ThreadPool& pool, const GroupedMatmulSpec& s, const int32_t* offsets, const void* dy,
                           float* accumulator) {
  check_offsets(s, offsets);
  pool.parallel_for(s.groups, [&](int64_t g, int) {
    HWY_DYNAMIC_DISPATCH(add_rows)
    (s.dtype, element_at(dy, s.dtype, offsets[g] * s.n), s.n, offsets[g + 1] - offsets[g], s.n, accumulator + g * s.n);
  });
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
