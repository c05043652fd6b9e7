#include "backend/cpu/mixture/route_balance.h"

#include <algorithm>
#include <cmath>

#include "base/bytes.h"

namespace plimsoll::cpu {
namespace {

constexpr int64_t kRowTile = 16;

// What softmax needs of a row: exp(x - largest) / sum.
struct Softmax {
  float largest, sum;
  explicit Softmax(std::span<const float> logits) : largest(*std::max_element(logits.begin(), logits.end())), sum(0) {
    for (const float x : logits) sum += std::exp(x - largest);
  }
  float operator()(float x) const { return std::exp(x - largest) / sum; }
};

}  // namespace

int64_t route_balance_workspace_bytes(const RouteBalanceSpec& spec, int64_t layers) {
  return layers * spec.experts * 2 * static_cast<int64_t>(sizeof(double));
}

void route_balance_forward(ThreadPool& pool, const RouteBalanceSpec& spec, std::span<std::byte* const> routed,
                           const int32_t* segments, double share, float* loss, float* slope, std::byte* workspace) {
  const auto experts = static_cast<size_t>(spec.experts);
  const size_t layers = routed.size() / 2;
  // (layers, 2, experts): sums of the softmax, and choices. A layer is a tile, so that sums have one order.
  const std::span sums(reinterpret_cast<double*>(workspace), 2 * experts * layers);
  pool.parallel_for(static_cast<int64_t>(layers), [&](int64_t layer, int) {
    const auto* const rows = reinterpret_cast<const float*>(routed[2 * static_cast<size_t>(layer)]);
    const auto* const chosen = reinterpret_cast<const int32_t*>(routed[2 * static_cast<size_t>(layer) + 1]);
    const std::span mine = sums.subspan(static_cast<size_t>(layer) * 2 * experts, 2 * experts);
    std::fill(mine.begin(), mine.end(), 0.0);
    for (int64_t row = 0; row < spec.rows; ++row) {
      if (segments[row] < 0) continue;
      const std::span logits(rows + row * spec.experts, experts);
      const Softmax softmax(logits);
      for (size_t e = 0; e < experts; ++e) mine[e] += static_cast<double>(softmax(logits[e]));
      for (int64_t j = row * spec.top_k; j < (row + 1) * spec.top_k; ++j)
        mine[experts + static_cast<size_t>(chosen[j])] += 1.0;
    }
  });
  for (size_t i = 2 * experts; i < sums.size(); ++i) sums[i % (2 * experts)] += sums[i];
  const auto real = std::count_if(segments, segments + spec.rows, [](int32_t segment) { return segment >= 0; });
  const auto total = static_cast<double>(real) * static_cast<double>(layers);
  const double factor =
      total > 0 ? static_cast<double>(spec.weight) * share * static_cast<double>(experts) / (total * total) : 0.0;
  double sum = 0;
  for (size_t e = 0; e < experts; ++e) {
    sum += sums[e] * sums[experts + e];
    slope[e] = static_cast<float>(factor * sums[experts + e]);
  }
  *loss = static_cast<float>(factor * sum);
}

void route_balance_backward(ThreadPool& pool, const RouteBalanceSpec& spec, const float* slope, const int32_t* segments,
                            const float* logits, DType dtype, void* d_logits) {
  const auto write = [&](int64_t i, float value) {
    if (dtype == DType::bf16) static_cast<uint16_t*>(d_logits)[i] = f32_to_bf16(value);
    else static_cast<float*>(d_logits)[i] = value;
  };
  pool.parallel_for(ceil_div(spec.rows, kRowTile), [&](int64_t tile, int) {
    for (int64_t row = tile * kRowTile; row < std::min(spec.rows, (tile + 1) * kRowTile); ++row) {
      const std::span x(logits + row * spec.experts, static_cast<size_t>(spec.experts));
      const Softmax softmax(x);
      float mean = 0;  // of the slopes
      for (size_t e = 0; e < x.size(); ++e) mean += slope[e] * softmax(x[e]);
      for (size_t e = 0; e < x.size(); ++e)
        write(row * spec.experts + static_cast<int64_t>(e),
              segments[row] < 0 ? 0.0F : softmax(x[e]) * (slope[e] - mean));
    }
  });
}

}  // namespace plimsoll::cpu
