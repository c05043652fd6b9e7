#include "backend/cpu/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/optimizer.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/elementwise_simd-inl.h"
// clang-format on

#include <algorithm>
#include <cmath>

#include "backend/cpu/optimizer.h"
#include "base/bytes.h"
#include "base/error.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

void adam_span(const OptimizerScalars& s, const OptimizerTensor& t, bool decoupled, int64_t begin, int64_t count) {
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
  for_vectors(count, [&](int64_t offset, auto lane) {
    const int64_t i = begin + offset;
    auto p = lane.get(t.master + i);
    auto g = hn::Mul(clip, lane.get(t.gradient + i));
    if (has_decay) {
      if (decoupled) p = hn::Mul(p, decay);
      else g = hn::MulAdd(decay, p, g);
    }
    auto m = lane.get(t.m + i);
    const auto toward = hn::Sub(g, m);
    m = near_end ? hn::NegMulAdd(blend, toward, g) : hn::MulAdd(blend, toward, m);
    auto v = hn::Mul(lane.get(t.v + i), beta2);
    v = hn::MulAdd(hn::Mul(one_minus_beta2, g), g, v);
    const auto denominator = hn::Add(hn::Div(hn::Sqrt(v), correction2), eps);
    p = hn::Add(p, hn::Div(hn::Mul(step_size, m), denominator));
    lane.put(m, t.m + i);
    lane.put(v, t.v + i);
    lane.put(p, t.master + i);
    if (t.bf16_copy != nullptr) lane.put(p, t.bf16_copy + i);
  });
}

void sgd_span(const OptimizerScalars& s, const OptimizerTensor& t, int64_t begin, int64_t count) {
  const Floats d;
  const auto clip = hn::Set(d, s.clip);
  const auto decay = hn::Set(d, static_cast<float>(s.weight_decay));
  const auto momentum = hn::Set(d, static_cast<float>(s.momentum));
  const auto minus_lr = hn::Set(d, static_cast<float>(-s.lr));
  for_vectors(count, [&](int64_t offset, auto lane) {
    const int64_t i = begin + offset;
    auto p = lane.get(t.master + i);
    auto g = hn::MulAdd(decay, p, hn::Mul(clip, lane.get(t.gradient + i)));
    if (t.m != nullptr) {
      if (s.step > 1) g = hn::MulAdd(momentum, lane.get(t.m + i), g);
      lane.put(g, t.m + i);
    }
    p = hn::MulAdd(minus_lr, g, p);
    lane.put(p, t.master + i);
    if (t.bf16_copy != nullptr) lane.put(p, t.bf16_copy + i);
  });
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(adam_span);
HWY_EXPORT(sgd_span);

namespace {
constexpr int64_t kTileElements = 1 << 14;

void run_adam(ThreadPool& pool, const OptimizerScalars& scalars, const OptimizerTensor& tensor, bool decoupled) {
  PLIMSOLL_CHECK(tensor.m != nullptr && tensor.v != nullptr && scalars.step >= 1,
                 "adam needs two moments and steps from 1");
  pool.parallel_for(ceil_div(tensor.n, kTileElements), [&](int64_t tile, int) {
    const int64_t begin = tile * kTileElements;
    HWY_DYNAMIC_DISPATCH(adam_span)(scalars, tensor, decoupled, begin, std::min(kTileElements, tensor.n - begin));
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
    const int64_t begin = tile * kTileElements;
    HWY_DYNAMIC_DISPATCH(sgd_span)(scalars, tensor, begin, std::min(kTileElements, tensor.n - begin));
  });
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
