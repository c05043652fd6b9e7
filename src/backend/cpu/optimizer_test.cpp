#include "backend/cpu/optimizer.h"

#include <gtest/gtest.h>

#include "backend/cpu/grad_norm.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

constexpr size_t kN = 20003;

struct State {
  std::vector<float> p, m, v;
  std::vector<uint16_t> copy;
  bool operator==(const State&) const = default;
};

// Ten steps with a changing gradient.
template <typename Step>
State train(Step step, OptimizerScalars s, int threads) {
  ThreadPool pool(threads);
  State state{random_values(kN, 1), std::vector<float>(kN, 0), std::vector<float>(kN, 0), std::vector<uint16_t>(kN)};
  for (s.step = 1; s.step <= 10; ++s.step) {
    const auto gradient = random_values(kN, static_cast<unsigned>(10 + s.step));
    step(
        pool, s,
        {static_cast<int64_t>(kN), state.p.data(), gradient.data(), state.m.data(), state.v.data(), state.copy.data()});
  }
  return state;
}

std::vector<double> reference(bool adam, bool decoupled, OptimizerScalars s) {
  const auto start = random_values(kN, 1);
  std::vector<double> p(start.begin(), start.end()), m(kN, 0), v(kN, 0);
  for (int t = 1; t <= 10; ++t) {
    const auto gradient = random_values(kN, static_cast<unsigned>(10 + t));
    for (size_t i = 0; i < kN; ++i) {
      double g = double{gradient[i]} * double{s.clip};
      if (decoupled) p[i] *= 1 - s.lr * s.weight_decay;
      else g += s.weight_decay * p[i];
      if (adam) {
        m[i] = s.beta1 * m[i] + (1 - s.beta1) * g;
        v[i] = s.beta2 * v[i] + (1 - s.beta2) * g * g;
        p[i] -=
            s.lr / (1 - std::pow(s.beta1, t)) * m[i] / (std::sqrt(v[i]) / std::sqrt(1 - std::pow(s.beta2, t)) + s.eps);
      } else {
        m[i] = t == 1 ? g : s.momentum * m[i] + g;
        p[i] -= s.lr * m[i];
      }
    }
  }
  return p;
}

TEST(Optimizer, FollowsTheFormulas) {
  const OptimizerScalars s{.lr = 0.01, .weight_decay = 0.1, .momentum = 0.9, .clip = 0.7F};
  const State adamw = train(adamw_step, s, 1), adam = train(adam_step, s, 1), sgd = train(sgd_step, s, 1);
  expect_close(adamw.p, reference(true, true, s), 1e-6, "adamw");
  expect_close(adam.p, reference(true, false, s), 1e-6, "adam");
  expect_close(sgd.p, reference(false, false, s), 1e-6, "sgd");
  EXPECT_EQ(adamw.copy, to_bf16(adamw.p));
  EXPECT_EQ(sgd.copy, to_bf16(sgd.p));
  EXPECT_TRUE(adamw == train(adamw_step, s, 3) && adam == train(adam_step, s, 3) && sgd == train(sgd_step, s, 3));
  OptimizerScalars low = s;
  low.beta1 = 0.3;  // the other form of the blend
  expect_close(train(adamw_step, low, 1).p, reference(true, true, low), 1e-6, "beta1 0.3");
}

TEST(Optimizer, PlainSgdNeedsNoState) {
  ThreadPool pool(1);
  std::vector<float> p = {1, 2}, g = {0.5F, -1};
  sgd_step(pool, {.lr = 0.1}, {2, p.data(), g.data(), nullptr, nullptr, nullptr});
  EXPECT_FLOAT_EQ(p[0], 0.95F);
  EXPECT_FLOAT_EQ(p[1], 2.1F);
}

TEST(GradNorm, SumsOfSquares) {
  const auto a = random_values(100001, 1), b = random_values(3, 2);
  const std::vector<std::span<const float>> spans = {a, {}, b};
  const std::vector<int64_t> sizes = {100001, 0, 3};
  std::vector<double> workspace(static_cast<size_t>(sum_of_squares_workspace_bytes(sizes)) / 8);
  ASSERT_GT(workspace.size(), 2U);
  double want = 0;
  for (const float v : a) want += double{v} * double{v};
  for (const float v : b) want += double{v} * double{v};
  ThreadPool one(1), three(3);
  const double got = sum_of_squares(one, spans, workspace.data());
  EXPECT_NEAR(got, want, 1e-12 * want);
  EXPECT_EQ(got, sum_of_squares(three, spans, workspace.data()));
}

}  // namespace
}  // namespace plimsoll::cpu
