#include "backend/cpu/mixture/expert_rows.h"

#include <gtest/gtest.h>

#include <cmath>

#include "backend/cpu/matmul/grouped_matmul.h"
#include "backend/cpu/mixture/route.h"
#include "support/golden.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

// Router, experts and joining together, against torch.
TEST(Mixture, ALayerAsTorch) {
  const Golden g("ops/moe_layer.safetensors");
  constexpr int64_t kRows = 8, kWidth = 12, kInner = 10, kExperts = 8, kChosen = 2;
  ThreadPool pool(2);
  const auto x = g.f32("in.x"), router = g.f32("in.router");
  std::vector<float> logits(kRows * kExperts), weights(kRows * kChosen);
  for (size_t r = 0; r < kRows; ++r)
    for (size_t e = 0; e < kExperts; ++e)
      for (size_t i = 0; i < kWidth; ++i) logits[r * kExperts + e] += x[r * kWidth + i] * router[e * kWidth + i];
  const RouteSpec route{.rows = kRows, .experts = kExperts, .top_k = kChosen, .normalize = true};
  std::vector<int32_t> experts(kRows * kChosen), slots(kRows * kChosen), offsets(kExperts + 1);
  route_forward(pool, route, logits.data(), nullptr, weights.data(), experts.data(), slots.data(), offsets.data());
  const ExpertRows rows{kRows, kChosen, kWidth, DType::f32};
  constexpr size_t kSorted = kRows * kChosen;
  std::vector<float> sorted(kSorted * kWidth), inner(kSorted * kInner), up(inner), z(sorted), y(kRows * kWidth);
  expert_gather(pool, rows, x.data(), slots.data(), sorted.data());
  const auto product = [&](const std::vector<float>& from, const char* name, std::vector<float>& to, int64_t k,
                           int64_t n) {
    const GroupedMatmulSpec spec{kExperts, kSorted, k, n, true, DType::f32};
    std::vector<float> matrices = g.f32(name);
    std::byte* const pointer = reinterpret_cast<std::byte*>(matrices.data());
    std::vector<char> workspace(static_cast<size_t>(grouped_matmul_workspace_bytes(spec, false, 2)));
    grouped_matmul(pool, spec, offsets.data(), from.data(), {{&pointer, 1}, true}, nullptr, false, to.data(),
                   workspace.data());
  };
  product(sorted, "in.gate", inner, kWidth, kInner);
  product(sorted, "in.up", up, kWidth, kInner);
  for (size_t i = 0; i < inner.size(); ++i) inner[i] *= up[i] / (1 + std::exp(-inner[i]));
  product(inner, "in.down", z, kInner, kWidth);
  expert_combine(pool, rows, z.data(), weights.data(), slots.data(), false, y.data());
  expect_close(y, g.f32("out.out"), 5e-6);
}

}  // namespace
}  // namespace plimsoll::cpu
