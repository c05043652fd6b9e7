#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rows/layer_norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
// clang-format on

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/rows/layer_norm.h"
#include "base/bytes.h"
#include "base/error.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

// The last vector of a row may be partial, and lanes behind its end read as zero: what they must not add is masked.
HWY_INLINE VecF only(Whole, VecF v) { return v; }
HWY_INLINE VecF only(Part part, VecF v) { return hn::IfThenElseZero(hn::FirstN(Floats(), part.count), v); }

template <typename T, typename W>
HWY_INLINE void forward_rows(const LayerNormSpec& spec, const T* x, const W* weight, const W* bias, T* y,
                             float* mean_rstd, int64_t begin, int64_t end) {
  const Floats d;
  const auto width = static_cast<float>(spec.width);
  for (int64_t row = begin; row < end; ++row) {
    const T* const in = x + row * spec.width;
    T* const out = y + row * spec.width;
    auto sum = hn::Zero(d);
    for_vectors(spec.width, [&](int64_t i, auto lane) { sum = hn::Add(sum, lane.get(in + i)); });
    const float mean = sum_of_lanes(sum) / width;
    const auto center = hn::Set(d, mean);
    auto squares = hn::Zero(d);
    for_vectors(spec.width, [&](int64_t i, auto lane) {
      const auto distance = only(lane, hn::Sub(lane.get(in + i), center));
      squares = hn::MulAdd(distance, distance, squares);
    });
    const float rstd = 1.0F / std::sqrt(sum_of_lanes(squares) / width + spec.eps);
    mean_rstd[2 * row] = mean;
    mean_rstd[2 * row + 1] = rstd;
    const auto factor = hn::Set(d, rstd);
    for_vectors(spec.width, [&](int64_t i, auto lane) {
      auto normal = hn::Mul(hn::Sub(lane.get(in + i), center), factor);
      if (weight != nullptr) normal = hn::Mul(normal, lane.get(weight + i));
      if (bias != nullptr) normal = hn::Add(normal, lane.get(bias + i));
      lane.put(normal, out + i);
    });
  }
}

// d_weight, d_bias: sums of this block of rows, or null.
template <typename T, typename W>
HWY_INLINE void backward_rows(const LayerNormSpec& spec, const T* dy, const T* x, const W* weight,
                              const float* mean_rstd, T* dx, bool accumulate, float* d_weight, float* d_bias,
                              int64_t begin, int64_t end) {
  const Floats d;
  const auto width = static_cast<float>(spec.width);
  for (int64_t row = begin; row < end; ++row) {
    const T* const g = dy + row * spec.width;
    const T* const in = x + row * spec.width;
    T* const out = dx + row * spec.width;
    const auto center = hn::Set(d, mean_rstd[2 * row]);
    const auto r = hn::Set(d, mean_rstd[2 * row + 1]);
    auto sum = hn::Zero(d), dot = hn::Zero(d);
    for_vectors(spec.width, [&](int64_t i, auto lane) {
      const auto upstream = lane.get(g + i);
      const auto normal = hn::Mul(hn::Sub(lane.get(in + i), center), r);
      const auto scaled = weight == nullptr ? upstream : hn::Mul(upstream, lane.get(weight + i));
      sum = hn::Add(sum, scaled);  // zero behind the row's end, as upstream is
      dot = hn::MulAdd(scaled, normal, dot);
      if (d_weight != nullptr) lane.put(hn::MulAdd(upstream, normal, lane.get(d_weight + i)), d_weight + i);
      if (d_bias != nullptr) lane.put(hn::Add(upstream, lane.get(d_bias + i)), d_bias + i);
    });
    const auto mean = hn::Set(d, sum_of_lanes(sum) / width);
    const auto slope = hn::Set(d, sum_of_lanes(dot) / width);
    for_vectors(spec.width, [&](int64_t i, auto lane) {
      const auto normal = hn::Mul(hn::Sub(lane.get(in + i), center), r);
      const auto scaled = weight == nullptr ? lane.get(g + i) : hn::Mul(lane.get(g + i), lane.get(weight + i));
      auto grad = hn::Mul(r, hn::Sub(hn::NegMulAdd(normal, slope, scaled), mean));
      if (accumulate) grad = hn::Add(grad, lane.get(out + i));
      lane.put(grad, out + i);
    });
  }
}

void layer_norm_forward_rows(const LayerNormSpec& spec, const void* x, const void* weight, const void* bias, void* y,
                             float* mean_rstd, int64_t begin, int64_t end) {
  using B = uint16_t;
  if (spec.dtype == DType::f32)
    forward_rows(spec, static_cast<const float*>(x), static_cast<const float*>(weight), static_cast<const float*>(bias),
                 static_cast<float*>(y), mean_rstd, begin, end);
  else if (spec.weight_dtype == DType::f32)
    forward_rows(spec, static_cast<const B*>(x), static_cast<const float*>(weight), static_cast<const float*>(bias),
                 static_cast<B*>(y), mean_rstd, begin, end);
  else
    forward_rows(spec, static_cast<const B*>(x), static_cast<const B*>(weight), static_cast<const B*>(bias),
                 static_cast<B*>(y), mean_rstd, begin, end);
}

void layer_norm_backward_rows(const LayerNormSpec& spec, const void* dy, const void* x, const void* weight,
                              const float* mean_rstd, void* dx, bool accumulate, float* d_weight, float* d_bias,
                              int64_t begin, int64_t end) {
  using B = uint16_t;
  if (spec.dtype == DType::f32)
    backward_rows(spec, static_cast<const float*>(dy), static_cast<const float*>(x), static_cast<const float*>(weight),
                  mean_rstd, static_cast<float*>(dx), accumulate, d_weight, d_bias, begin, end);
  else if (spec.weight_dtype == DType::f32)
    backward_rows(spec, static_cast<const B*>(dy), static_cast<const B*>(x), static_cast<const float*>(weight),
                  mean_rstd, static_cast<B*>(dx), accumulate, d_weight, d_bias, begin, end);
  else
    backward_rows(spec, static_cast<const B*>(dy), static_cast<const B*>(x), static_cast<const B*>(weight), mean_rstd,
                  static_cast<B*>(dx), accumulate, d_weight, d_bias, begin, end);
}

// sums: (blocks, 2, width); part 0 is d_weight's, part 1 d_bias's.
void add_block_sums(const float* sums, int64_t blocks, int64_t width, int64_t part, float* total) {
  for (int64_t block = 0; block < blocks; ++block)
    for_vectors(width, [&](int64_t i, auto lane) {
      lane.put(hn::Add(lane.get(total + i), lane.get(sums + (2 * block + part) * width + i)), total + i);
    });
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(layer_norm_forward_rows);
HWY_EXPORT(layer_norm_backward_rows);
HWY_EXPORT(add_block_sums);

namespace {

void check(const LayerNormSpec& spec) {
  PLIMSOLL_CHECK(spec.dtype == DType::f32 || spec.dtype == DType::bf16, "activations are f32 or bf16");
  PLIMSOLL_CHECK(spec.weight_dtype == DType::f32 || spec.weight_dtype == spec.dtype, "weight is f32 or as x");
}

// At most 64 blocks, so that the sums of d_weight stay small; at least about 16 thousand elements each.
int64_t block_rows(const LayerNormSpec& spec) {
  return std::max(std::max<int64_t>(1, 16384 / std::max<int64_t>(1, spec.width)), ceil_div(spec.rows, 64));
}

}  // namespace

void layer_norm_forward(ThreadPool& pool, const LayerNormSpec& spec, const void* x, const void* weight,
                        const void* bias, void* y, float* mean_rstd) {
  check(spec);
  const int64_t step = block_rows(spec);
  pool.parallel_for(ceil_div(spec.rows, step), [&](int64_t tile, int) {
    HWY_DYNAMIC_DISPATCH(layer_norm_forward_rows)
    (spec, x, weight, bias, y, mean_rstd, tile * step, std::min(spec.rows, (tile + 1) * step));
  });
}

int64_t layer_norm_backward_workspace_bytes(const LayerNormSpec& spec) {
  return ceil_div(spec.rows, block_rows(spec)) * 2 * spec.width * int64_t{sizeof(float)};
}

void layer_norm_backward(ThreadPool& pool, const LayerNormSpec& spec, const void* dy, const void* x, const void* weight,
                         const float* mean_rstd, void* dx, bool accumulate, float* d_weight, float* d_bias,
                         void* workspace) {
  check(spec);
  PLIMSOLL_CHECK(!accumulate || dx != dy, "dx += needs a buffer of its own");
  const int64_t step = block_rows(spec);
  const int64_t blocks = ceil_div(spec.rows, step);
  auto* const sums = static_cast<float*>(workspace);
  const auto sum_of = [&](const float* total, int64_t tile, int64_t part) {
    return total == nullptr ? nullptr : sums + (2 * tile + part) * spec.width;
  };
  pool.parallel_for(blocks, [&](int64_t tile, int) {
    float* const weight_sum = sum_of(d_weight, tile, 0);
    float* const bias_sum = sum_of(d_bias, tile, 1);
    for (float* sum : {weight_sum, bias_sum})
      if (sum != nullptr) std::memset(sum, 0, static_cast<size_t>(spec.width) * sizeof(float));
    HWY_DYNAMIC_DISPATCH(layer_norm_backward_rows)
    (spec, dy, x, weight, mean_rstd, dx, accumulate, weight_sum, bias_sum, tile * step,
     std::min(spec.rows, (tile + 1) * step));
  });
  if (d_weight != nullptr) HWY_DYNAMIC_DISPATCH(add_block_sums)(sums, blocks, spec.width, 0, d_weight);
  if (d_bias != nullptr) HWY_DYNAMIC_DISPATCH(add_block_sums)(sums, blocks, spec.width, 1, d_bias);
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
