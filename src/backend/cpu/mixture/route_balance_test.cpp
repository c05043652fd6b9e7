#include "backend/cpu/mixture/route_balance.h"

#include <gtest/gtest.h>

#include "backend/cpu/mixture/route.h"
#include "support/golden.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

struct Balance {
  float loss = -1;
  std::vector<float> slope, d_logits;
  bool operator==(const Balance&) const = default;
};

Balance run(const RouteBalanceSpec& spec, const std::vector<float>& logits, const std::vector<int32_t>& segments,
            DType dtype, int threads) {
  ThreadPool pool(threads);
  std::vector<float> weights(static_cast<size_t>(spec.rows * spec.top_k));
  std::vector<int32_t> chosen(weights.size()), slots(weights.size()), offsets(static_cast<size_t>(spec.experts + 1));
  route_forward(pool, {.rows = spec.rows, .experts = spec.experts, .top_k = spec.top_k}, logits.data(), nullptr,
                weights.data(), chosen.data(), slots.data(), offsets.data());
  std::vector<float> copy = logits;
  const std::vector<std::byte*> layer = {reinterpret_cast<std::byte*>(copy.data()),
                                         reinterpret_cast<std::byte*>(chosen.data())};
  std::vector<std::byte> workspace(static_cast<size_t>(route_balance_workspace_bytes(spec, 1)));
  Balance result{-1, std::vector<float>(static_cast<size_t>(spec.experts), -1), std::vector<float>(logits.size(), -1)};
  route_balance_forward(pool, spec, layer, segments.data(), 1.0, &result.loss, result.slope.data(), workspace.data());
  route_balance_backward(pool, spec, result.slope.data(), segments.data(), logits.data(), dtype,
                         result.d_logits.data());
  return result;
}

TEST(RouteBalance, AsTransformers) {
  const Golden g("ops/route_balance_loss.safetensors");
  const Balance r = run({8, 8, 2, 1.0F}, g.f32("in.logits"), std::vector<int32_t>(8, 0), DType::f32, 2);
  expect_close(std::vector<float>{r.loss}, g.f32("out.loss"), 1e-6);
  expect_close(r.d_logits, g.f32("grad.logits"), 5e-6);
}

TEST(RouteBalance, PaddingIsAsIfItWereNotThere) {
  const Golden g("ops/route_balance_loss.safetensors");
  std::vector<float> logits = g.f32("in.logits");
  logits.insert(logits.end(), 16, 3.0F);
  std::vector<int32_t> segments(10, 4);
  segments[8] = segments[9] = -1;
  const Balance r = run({10, 8, 2, 1.0F}, logits, segments, DType::f32, 1);
  std::vector<float> want = g.f32("grad.logits");
  want.insert(want.end(), 16, 0.0F);
  expect_close(std::vector<float>{r.loss}, g.f32("out.loss"), 1e-6);
  expect_close(r.d_logits, want, 5e-6);
}

TEST(RouteBalance, OnlyPaddingIsZero) {
  const Balance r = run({2, 4, 2, 1.0F}, random_values(8, 1), {-1, -1}, DType::f32, 1);
  EXPECT_EQ(r.loss, 0.0F);
  EXPECT_EQ(r.d_logits, std::vector<float>(8, 0.0F));
}

TEST(RouteBalance, SameBitsForAnyThreadCount) {
  const RouteBalanceSpec spec{131, 33, 5, 0.001F};
  const std::vector<float> logits = random_values(131 * 33, 3);
  std::vector<int32_t> segments(131, 0);
  segments[130] = -1;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Balance one = run(spec, logits, segments, dtype, 1);
    EXPECT_GT(one.loss, 0.0F);
    EXPECT_EQ(run(spec, logits, segments, dtype, 2), one);
    EXPECT_EQ(run(spec, logits, segments, dtype, 3), one);
  }
}

}  // namespace
}  // namespace plimsoll::cpu
