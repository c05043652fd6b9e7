#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/optimizer/grad_norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/cpu/optimizer/grad_norm.h"
#include "base/bytes.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

double squares_of_span(const float* values, int64_t n) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, hn::ScalableTag<double>> df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto sum0 = hn::Zero(d);
  auto sum1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const auto a = hn::PromoteTo(d, hn::LoadU(df, values + i));
    const auto b = hn::PromoteTo(d, hn::LoadU(df, values + i + lanes));
    sum0 = hn::MulAdd(a, a, sum0);
    sum1 = hn::MulAdd(b, b, sum1);
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  for (; i < n; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  return sum;
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(squares_of_span);

namespace {
constexpr int64_t kBlock = 1 << 15;
}

int64_t sum_of_squares_workspace_bytes(std::span<const int64_t> elements) {
  int64_t blocks = 0;
  for (const int64_t n : elements) blocks += ceil_div(n, kBlock);
  return blocks * int64_t{sizeof(double)};
}

double sum_of_squares(ThreadPool& pool, std::span<const std::span<const float>> gradients, double limit,
                      void* workspace) {
  auto* const sums = static_cast<double*>(workspace);
  int64_t first = 0;
  for (const std::span<const float> gradient : gradients) {
    const auto n = static_cast<int64_t>(gradient.size());
    pool.parallel_for(ceil_div(n, kBlock), [&](int64_t tile, int) {
      const float* const begin = gradient.data() + tile * kBlock;
      const int64_t count = std::min(kBlock, n - tile * kBlock);
      double& sum = sums[first + tile];
      sum = HWY_DYNAMIC_DISPATCH(squares_of_span)(begin, count);
      if (sum >= limit * limit && std::any_of(begin, begin + count, [&](float x) { return std::fabs(x) >= limit; }))
        sum = std::numeric_limits<double>::infinity();
    });
    first += ceil_div(n, kBlock);
  }
  double sum = 0;
  first = 0;
  for (const std::span<const float> gradient : gradients) {
    double of_gradient = 0;
    for (const int64_t end = first + ceil_div(static_cast<int64_t>(gradient.size()), kBlock); first < end; ++first)
      of_gradient += sums[first];
    sum += of_gradient;
  }
  return sum;
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
