#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rows/rms_norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
// clang-format on

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/rows/rms_norm.h"
#include "base/bytes.h"
#include "base/error.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

template <typename T, typename W>
HWY_INLINE void forward_rows(const RmsNormSpec& spec, const T* x, const W* weight, T* y, float* rstd, int64_t begin,
                             int64_t end) {
  const Floats d;
  const auto offset = hn::Set(d, spec.weight_offset);
  const bool round_first = spec.weight_offset == 0;
  for (int64_t row = begin; row < end; ++row) {
    const T* const in = x + row * spec.width;
    T* const out = y + row * spec.width;
    auto squares = hn::Zero(d);
    for_vectors(spec.width, [&](int64_t i, auto lane) {
      const auto v = lane.get(in + i);
      squares = hn::MulAdd(v, v, squares);
    });
    const float r = 1.0F / std::sqrt(sum_of_lanes(squares) / static_cast<float>(spec.width) + spec.eps);
    rstd[row] = r;
    const auto factor = hn::Set(d, r);
    if (round_first) {
      for_vectors(spec.width, [&](int64_t i, auto lane) {
        lane.put(hn::Mul(lane.get(weight + i), rounded_to<T>(hn::Mul(lane.get(in + i), factor))), out + i);
      });
    } else {
      for_vectors(spec.width, [&](int64_t i, auto lane) {
        lane.put(hn::Mul(hn::Add(lane.get(weight + i), offset), hn::Mul(lane.get(in + i), factor)), out + i);
      });
    }
  }
}

// d_weight: sums of this block of rows, or null.
template <typename T, typename W>
HWY_INLINE void backward_rows(const RmsNormSpec& spec, const T* dy, const T* x, const W* weight, const float* rstd,
                              T* dx, bool accumulate, float* d_weight, int64_t begin, int64_t end) {
  const Floats d;
  const auto offset = hn::Set(d, spec.weight_offset);
  const bool round_first = spec.weight_offset == 0;
  for (int64_t row = begin; row < end; ++row) {
    const T* const g = dy + row * spec.width;
    const T* const in = x + row * spec.width;
    T* const out = dx + row * spec.width;
    const auto r = hn::Set(d, rstd[row]);
    auto dot = hn::Zero(d);
    for_vectors(spec.width, [&](int64_t i, auto lane) {
      const auto upstream = lane.get(g + i);
      const auto normal = hn::Mul(lane.get(in + i), r);
      dot = hn::MulAdd(hn::Mul(upstream, hn::Add(lane.get(weight + i), offset)), normal, dot);
      if (d_weight != nullptr)
        lane.put(hn::MulAdd(upstream, round_first ? rounded_to<T>(normal) : normal, lane.get(d_weight + i)),
                 d_weight + i);
    });
    const auto mean = hn::Set(d, sum_of_lanes(dot) / static_cast<float>(spec.width));
    for_vectors(spec.width, [&](int64_t i, auto lane) {
      const auto normal = hn::Mul(lane.get(in + i), r);
      const auto scaled = hn::Mul(lane.get(g + i), hn::Add(lane.get(weight + i), offset));
      auto grad = hn::Mul(r, hn::NegMulAdd(normal, mean, scaled));
      if (accumulate) grad = hn::Add(grad, lane.get(out + i));
      lane.put(grad, out + i);
    });
  }
}

void rms_norm_forward_rows(const RmsNormSpec& spec, const void* x, const void* weight, void* y, float* rstd,
                           int64_t begin, int64_t end) {
  using B = uint16_t;
  if (spec.dtype == DType::f32)
    forward_rows(spec, static_cast<const float*>(x), static_cast<const float*>(weight), static_cast<float*>(y), rstd,
                 begin, end);
  else if (spec.weight_dtype == DType::f32)
    forward_rows(spec, static_cast<const B*>(x), static_cast<const float*>(weight), static_cast<B*>(y), rstd, begin,
                 end);
  else
    forward_rows(spec, static_cast<const B*>(x), static_cast<const B*>(weight), static_cast<B*>(y), rstd, begin, end);
}

void rms_norm_backward_rows(const RmsNormSpec& spec, const void* dy, const void* x, const void* weight,
                            const float* rstd, void* dx, bool accumulate, float* d_weight, int64_t begin, int64_t end) {
  using B = uint16_t;
  if (spec.dtype == DType::f32)
    backward_rows(spec, static_cast<const float*>(dy), static_cast<const float*>(x), static_cast<const float*>(weight),
                  rstd, static_cast<float*>(dx), accumulate, d_weight, begin, end);
  else if (spec.weight_dtype == DType::f32)
    backward_rows(spec, static_cast<const B*>(dy), static_cast<const B*>(x), static_cast<const float*>(weight), rstd,
                  static_cast<B*>(dx), accumulate, d_weight, begin, end);
  else
    backward_rows(spec, static_cast<const B*>(dy), static_cast<const B*>(x), static_cast<const B*>(weight), rstd,
                  static_cast<B*>(dx), accumulate, d_weight, begin, end);
}

void add_weight_sums(const float* sums, int64_t blocks, int64_t width, float* d_weight) {
  for (int64_t block = 0; block < blocks; ++block)
    for_vectors(width, [&](int64_t i, auto lane) {
      lane.put(hn::Add(lane.get(d_weight + i), lane.get(sums + block * width + i)), d_weight + i);
    });
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(rms_norm_forward_rows);
HWY_EXPORT(rms_norm_backward_rows);
HWY_EXPORT(add_weight_sums);

namespace {

void check(const RmsNormSpec& spec) {
  PLIMSOLL_CHECK(spec.dtype == DType::f32 || spec.dtype == DType::bf16, "activations are f32 or bf16");
  PLIMSOLL_CHECK(spec.weight_dtype == DType::f32 || spec.weight_dtype == spec.dtype, "weight is f32 or as x");
}

// At most 64 blocks, so that the sums of d_weight stay small; at least about 16 thousand elements each.
int64_t block_rows(const RmsNormSpec& spec) {
  return std::max(std::max<int64_t>(1, 16384 / std::max<int64_t>(1, spec.width)), ceil_div(spec.rows, 64));
}

}  // namespace

void rms_norm_forward(ThreadPool& pool, const RmsNormSpec& spec, const void* x, const void* weight, void* y,
                      float* rstd) {
  check(spec);
  const int64_t step = block_rows(spec);
  pool.parallel_for(ceil_div(spec.rows, step), [&](int64_t tile, int) {
    HWY_DYNAMIC_DISPATCH(rms_norm_forward_rows)
    (spec, x, weight, y, rstd, tile * step, std::min(spec.rows, (tile + 1) * step));
  });
}

int64_t rms_norm_backward_workspace_bytes(const RmsNormSpec& spec) {
  return ceil_div(spec.rows, block_rows(spec)) * spec.width * int64_t{sizeof(float)};
}

void rms_norm_backward(ThreadPool& pool, const RmsNormSpec& spec, const void* dy, const void* x, const void* weight,
                       const float* rstd, void* dx, bool accumulate, float* d_weight, void* workspace) {
  check(spec);
  PLIMSOLL_CHECK(!accumulate || dx != dy, "dx += needs a buffer of its own");
  const int64_t step = block_rows(spec);
  const int64_t blocks = ceil_div(spec.rows, step);
  auto* const sums = static_cast<float*>(workspace);
  pool.parallel_for(blocks, [&](int64_t tile, int) {
    float* sum = nullptr;
    if (d_weight != nullptr) {
      sum = sums + tile * spec.width;
      std::memset(sum, 0, static_cast<size_t>(spec.width) * sizeof(float));
    }
    HWY_DYNAMIC_DISPATCH(rms_norm_backward_rows)
    (spec, dy, x, weight, rstd, dx, accumulate, sum, tile * step, std::min(spec.rows, (tile + 1) * step));
  });
  if (d_weight != nullptr) HWY_DYNAMIC_DISPATCH(add_weight_sums)(sums, blocks, spec.width, d_weight);
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
