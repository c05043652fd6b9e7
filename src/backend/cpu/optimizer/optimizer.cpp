#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/optimizer/optimizer.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
#include "backend/cpu/simd/stochastic_simd-inl.h"
// clang-format on

#include <algorithm>
#include <cmath>

#include "backend/cpu/optimizer/optimizer.h"
#include "base/bytes.h"
#include "base/counter_random.h"
#include "base/error.h"
#include "quant/half.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

// W and S: what weights and moments are stored as, float or uint16_t (bf16). `key`: of these `count` elements; where
// they begin in the tensor plays no part in the random bits.
template <typename W, typename S>
HWY_INLINE void adam_elements(const OptimizerScalars& s, const OptimizerTensor& t, bool decoupled, uint32_t key,
                              int64_t begin, int64_t count) {
  const Floats d;
  const auto set = [&](double value) { return hn::Set(d, static_cast<float>(value)); };
  const double steps = static_cast<double>(s.step);
  const auto clip = set(s.clip);
  const auto decay = set(decoupled ? 1.0 - s.lr * s.weight_decay : s.weight_decay);
  const bool has_decay = s.weight_decay != 0;
  // torch's lerp takes another form from weight 0.5 on.
  const bool near_end = 1.0 - s.beta1 >= 0.5;
  const auto blend = set(near_end ? 1.0 - (1.0 - s.beta1) : 1.0 - s.beta1);
  const auto beta2 = set(s.beta2);
  const auto one_minus_beta2 = set(1.0 - s.beta2);
  const auto step_size = set(-(s.lr / (1.0 - std::pow(s.beta1, steps))));
  const auto correction2 = set(std::sqrt(1.0 - std::pow(s.beta2, steps)));
  const auto eps = set(s.eps);
  W* const weights = static_cast<W*>(t.weights) + begin;
  S* const m_state = static_cast<S*>(t.m) + begin;
  S* const v_state = static_cast<S*>(t.v) + begin;
  for_vectors(count, [&](int64_t i, auto lane) {
    auto p = lane.get(weights + i);
    auto g = hn::Mul(clip, lane.get(t.gradient + begin + i));
    if (has_decay) {
      if (decoupled) p = hn::Mul(p, decay);
      else g = hn::MulAdd(decay, p, g);
    }
    auto m = lane.get(m_state + i);
    const auto toward = hn::Sub(g, m);
    m = near_end ? hn::NegMulAdd(blend, toward, g) : hn::MulAdd(blend, toward, m);
    auto v = hn::Mul(lane.get(v_state + i), beta2);
    v = hn::MulAdd(hn::Mul(one_minus_beta2, g), g, v);
    const auto denominator = hn::Add(hn::Div(hn::Sqrt(v), correction2), eps);
    p = hn::Add(p, hn::Div(hn::Mul(step_size, m), denominator));
    if constexpr (sizeof(S) == 2) {
      const auto random = random_bits(key, static_cast<uint32_t>(i));
      m = drawn_for<S>(m, random);
      v = drawn_for<S>(v, hn::ShiftRight<16>(random));
    }
    if constexpr (sizeof(W) == 2) p = drawn_for<W>(p, random_bits(~key, static_cast<uint32_t>(i)));
    lane.put(m, m_state + i);
    lane.put(v, v_state + i);
    lane.put(p, weights + i);
  });
}

void adam_span(const OptimizerScalars& s, const OptimizerTensor& t, bool decoupled, uint32_t key, int64_t begin,
               int64_t count) {
  const bool narrow_weights = t.weights_dtype != DType::f32, narrow_state = t.state_dtype != DType::f32;
  if (narrow_weights && narrow_state) adam_elements<uint16_t, uint16_t>(s, t, decoupled, key, begin, count);
  else if (narrow_weights) adam_elements<uint16_t, float>(s, t, decoupled, key, begin, count);
  else if (narrow_state) adam_elements<float, uint16_t>(s, t, decoupled, key, begin, count);
  else adam_elements<float, float>(s, t, decoupled, key, begin, count);
}

template <typename W>
HWY_INLINE void sgd_elements(const OptimizerScalars& s, const OptimizerTensor& t, uint32_t key, int64_t begin,
                             int64_t count) {
  const Floats d;
  const auto clip = hn::Set(d, s.clip);
  const auto decay = hn::Set(d, static_cast<float>(s.weight_decay));
  const auto momentum = hn::Set(d, static_cast<float>(s.momentum));
  const auto minus_lr = hn::Set(d, static_cast<float>(-s.lr));
  W* const weights = static_cast<W*>(t.weights) + begin;
  float* const buffer = t.m != nullptr ? static_cast<float*>(t.m) + begin : nullptr;
  for_vectors(count, [&](int64_t i, auto lane) {
    auto p = lane.get(weights + i);
    auto g = hn::MulAdd(decay, p, hn::Mul(clip, lane.get(t.gradient + begin + i)));
    if (buffer != nullptr) {
      if (s.step > 1) g = hn::MulAdd(momentum, lane.get(buffer + i), g);
      lane.put(g, buffer + i);
    }
    p = hn::MulAdd(minus_lr, g, p);
    if constexpr (sizeof(W) == 2) p = drawn_for<W>(p, random_bits(~key, static_cast<uint32_t>(i)));
    lane.put(p, weights + i);
  });
}

void sgd_span(const OptimizerScalars& s, const OptimizerTensor& t, uint32_t key, int64_t begin, int64_t count) {
  if (t.weights_dtype == DType::f32) sgd_elements<float>(s, t, key, begin, count);
  else sgd_elements<uint16_t>(s, t, key, begin, count);
}

// f32 values into bf16 weights, rounded stochastically.
void draw_span(const float* values, uint32_t key, uint16_t* weights, int64_t count) {
  for_vectors(count, [&](int64_t i, auto lane) {
    lane.put(drawn_for<uint16_t>(lane.get(values + i), random_bits(~key, static_cast<uint32_t>(i))), weights + i);
  });
}

void round_span(const float* values, bool to_bf16, uint16_t* copy, int64_t count) {
  if (to_bf16) {
    for_vectors(count, [&](int64_t i, auto lane) { lane.put(lane.get(values + i), copy + i); });
    return;
  }
  for (int64_t i = 0; i < count; ++i) copy[i] = inline_half::to_f16(values[i]);
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(adam_span);
HWY_EXPORT(sgd_span);
HWY_EXPORT(draw_span);
HWY_EXPORT(round_span);

namespace {
constexpr int64_t kTileElements = 1 << 14;  // f32 weights of a tile stay in the second-level cache for the copy

uint32_t key_of(uint64_t random_key, int64_t begin) {
  return static_cast<uint32_t>(mix_bits(random_key + static_cast<uint64_t>(begin)));
}

// Rounds what was just updated.
void write_copy(const OptimizerTensor& t, int64_t begin, int64_t count, const float* values) {
  if (t.copy == nullptr) return;
  HWY_DYNAMIC_DISPATCH(round_span)
  (values, t.copy_dtype == DType::bf16, static_cast<uint16_t*>(t.copy) + begin, count);
}

void copy_tile(const OptimizerTensor& t, int64_t begin, int64_t count) {
  if (t.copy != nullptr) write_copy(t, begin, count, static_cast<const float*>(t.weights) + begin);
}

void run_adam(ThreadPool& pool, const OptimizerScalars& scalars, const OptimizerTensor& tensor, bool decoupled) {
  PLIMSOLL_CHECK(tensor.m != nullptr && tensor.v != nullptr && scalars.step >= 1,
                 "adam needs two moments and steps from 1");
  pool.parallel_for(ceil_div(tensor.n, kTileElements), [&](int64_t tile, int) {
    const int64_t begin = tile * kTileElements, count = std::min(kTileElements, tensor.n - begin);
    HWY_DYNAMIC_DISPATCH(adam_span)(scalars, tensor, decoupled, key_of(scalars.random_key, begin), begin, count);
    copy_tile(tensor, begin, count);
  });
}
}  // namespace

void adamw_step(ThreadPool& pool, const OptimizerScalars& scalars, const OptimizerTensor& tensor) {
  run_adam(pool, scalars, tensor, true);
}
void adam_step(ThreadPool& pool, const OptimizerScalars& scalars, const OptimizerTensor& tensor) {
  run_adam(pool, scalars, tensor, false);
}

void sgd_step(ThreadPool& pool, const OptimizerScalars& scalars, const OptimizerTensor& tensor) {
  PLIMSOLL_CHECK(tensor.m != nullptr || scalars.momentum == 0, "momentum needs its buffer");
  pool.parallel_for(ceil_div(tensor.n, kTileElements), [&](int64_t tile, int) {
    const int64_t begin = tile * kTileElements, count = std::min(kTileElements, tensor.n - begin);
    HWY_DYNAMIC_DISPATCH(sgd_span)(scalars, tensor, key_of(scalars.random_key, begin), begin, count);
    copy_tile(tensor, begin, count);
  });
}

void read_weights(const OptimizerTensor& tensor, int64_t begin, int64_t count, float* values) {
  if (tensor.weights_dtype == DType::f32) {
    std::copy_n(static_cast<const float*>(tensor.weights) + begin, count, values);
    return;
  }
  const uint16_t* const from = static_cast<const uint16_t*>(tensor.weights) + begin;
  for (int64_t i = 0; i < count; ++i) values[i] = inline_half::from_bf16(from[i]);
}

void write_weights(const OptimizerTensor& tensor, uint64_t random_key, int64_t begin, int64_t count,
                   const float* values) {
  if (tensor.weights_dtype == DType::f32) {
    std::copy_n(values, count, static_cast<float*>(tensor.weights) + begin);
    write_copy(tensor, begin, count, values);
    return;
  }
  HWY_DYNAMIC_DISPATCH(draw_span)
  (values, key_of(random_key, begin), static_cast<uint16_t*>(tensor.weights) + begin, count);
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
