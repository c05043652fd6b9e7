#include "backend/cpu/optimizer/optimizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "backend/cpu/optimizer/adafactor.h"
#include "backend/cpu/optimizer/grad_norm.h"
#include "support/golden.h"
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

TEST(Optimizer, EightBitStateIsTheGoldenBytes) {
  const Golden golden("quant/adamw8bit/steps.safetensors");
  ThreadPool pool(3);
  std::vector<float> p = golden.f32("initial");
  const size_t blocks = (p.size() + kAdamW8bitBlock - 1) / kAdamW8bitBlock;
  std::vector<uint8_t> m(p.size()), v(p.size());
  std::vector<float> m_absmax(blocks), v_absmax(blocks);
  std::vector<uint16_t> copy(p.size());
  std::ifstream file(PLIMSOLL_TEST_DATA "/golden/quant/adamw8bit/method.json");
  const nlohmann::json hyper = nlohmann::json::parse(file).at("hyper");
  int64_t t = 0;
  for (; golden.has("grad." + std::to_string(t)); ++t) {
    std::vector<float> g = golden.f32("grad." + std::to_string(t));
    for (float& x : g) x *= 2;  // and clipped to half
    const OptimizerScalars s{.lr = hyper.at("lr"),
                             .beta1 = hyper.at("betas")[0],
                             .beta2 = hyper.at("betas")[1],
                             .eps = hyper.at("eps"),
                             .weight_decay = hyper.at("weight_decay"),
                             .step = t + 1,
                             .clip = 0.5F};
    adamw8bit_step(pool, s, {static_cast<int64_t>(p.size()), p.data(), g.data(), nullptr, nullptr, copy.data()},
                   {m.data(), v.data(), m_absmax.data(), v_absmax.data()});
    const auto want = golden.f32("param." + std::to_string(t));
    for (size_t i = 0; i < p.size(); ++i) ASSERT_NEAR(p[i], want[i], 1e-7) << t << " " << i;
    EXPECT_EQ(m, golden.bytes("state1." + std::to_string(t))) << t;
    EXPECT_EQ(v, golden.bytes("state2." + std::to_string(t))) << t;
    EXPECT_EQ(copy, to_bf16(p)) << t;
  }
  EXPECT_GE(t, 5);
}

TEST(Optimizer, AdafactorFollowsTransformers) {
  for (const char* setting : {"plain", "scaled", "relative"}) {
    const Golden golden("adafactor/" + std::string(setting) + ".safetensors");
    const bool plain = setting == std::string("plain"), relative = setting == std::string("relative");
    for (const char* key : {"matrix", "matrices", "vector"}) {
      const std::vector<int64_t> dims = golden.shape("initial." + std::string(key));
      const Shape shape{std::span<const int64_t>(dims)};
      std::vector<float> p = golden.f32("initial." + std::string(key)), again = p;
      std::vector<float> rows(golden.f32("rows." + std::string(key)).size()), rows_again = rows, columns, columns_again;
      if (shape.rank() > 1) columns.resize(golden.f32("columns." + std::string(key)).size());
      columns_again = columns;
      std::vector<double> workspace(static_cast<size_t>(adafactor_workspace_bytes(shape)) / 8 + 1);
      for (int64_t t = 0; t < 10; ++t) {
        const std::string step = std::to_string(t) + "." + key;
        const auto g = golden.f32("grad." + step);
        const OptimizerScalars s{.lr = relative ? 1e-2
                                       : plain  ? 1e-3
                                                : 1e-2,
                                 .weight_decay = plain ? 0.1 : 0.0,
                                 .step = t + 1};
        const auto run = [&](int threads, std::vector<float>& weights, std::vector<float>& r, std::vector<float>& c) {
          ThreadPool pool(threads);
          std::fill(workspace.begin(), workspace.end(), std::nan(""));
          adafactor_step(pool, s, !plain, shape, {shape.elements(), weights.data(), g.data()},
                         {r.data(), c.empty() ? nullptr : c.data()}, workspace.data());
        };
        run(1, p, rows, columns);
        run(3, again, rows_again, columns_again);
        const auto want = golden.f32("param." + step);
        for (size_t i = 0; i < p.size(); ++i) ASSERT_NEAR(p[i], want[i], 1e-6) << setting << " " << step << " " << i;
      }
      EXPECT_EQ(p, again);
      expect_close(rows, golden.f32("rows." + std::string(key)), 1e-5, key);
      if (!columns.empty()) expect_close(columns, golden.f32("columns." + std::string(key)), 1e-5, key);
    }
  }
}

// bf16 weights and moments: each is a neighbour of what f32 would give, and their mean over many draws is that value.
TEST(Optimizer, NarrowStateIsRoundedStochastically) {
  constexpr size_t kTensor = 40000;
  const std::vector<float> start(kTensor, 0.7F), gradient(kTensor, 0.31F);
  const OptimizerScalars s{.lr = 1e-5, .random_key = 11};
  ThreadPool one(1), three(3);
  std::vector<uint16_t> p = to_bf16(start), m(kTensor, f32_to_bf16(0.2F)), v(kTensor, f32_to_bf16(0.1F));
  std::vector<uint16_t> p2 = p, m2 = m, v2 = v, p3 = p, m3 = m, v3 = v;
  const float p0 = bf16_to_f32(p[0]), m0 = bf16_to_f32(m[0]), v0 = bf16_to_f32(v[0]);
  const auto step = [&](ThreadPool& pool, OptimizerScalars scalars, std::vector<uint16_t>& weights,
                        std::vector<uint16_t>& first, std::vector<uint16_t>& second) {
    OptimizerTensor tensor{kTensor, weights.data(), gradient.data(), first.data(), second.data(), nullptr};
    tensor.weights_dtype = tensor.state_dtype = DType::bf16;
    adamw_step(pool, scalars, tensor);
  };
  step(one, s, p, m, v);
  step(three, s, p2, m2, v2);
  EXPECT_TRUE(p == p2 && m == m2 && v == v2) << "any number of threads draws the same bits";
  OptimizerScalars other = s;
  other.random_key = 12;
  step(one, other, p3, m3, v3);
  EXPECT_NE(m, m3) << "another step draws other bits";
  std::vector<float> exact = {p0}, exact_m = {m0}, exact_v = {v0};
  adamw_step(one, s, {1, exact.data(), gradient.data(), exact_m.data(), exact_v.data(), nullptr});
  const auto check = [&](const std::vector<uint16_t>& got, float want, const char* what) {
    double mean = 0;
    for (const uint16_t bits : got) {
      const float value = bf16_to_f32(bits);
      ASSERT_LE(std::fabs(value - want), std::fabs(want) / 128) << what;
      mean += double{value} / kTensor;
    }
    // The step between neighbours is at most want / 128; the mean of 40,000 draws lies within five deviations of it.
    EXPECT_NEAR(mean, want, 5 * 0.5 * std::fabs(want) / 128 / std::sqrt(kTensor)) << what;
  };
  check(p, exact[0], "weights");
  check(m, exact_m[0], "m");
  check(v, exact_v[0], "v");
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
  constexpr double kNone = std::numeric_limits<double>::infinity();
  const double got = sum_of_squares(one, spans, kNone, workspace.data());
  EXPECT_NEAR(got, want, 1e-12 * want);
  EXPECT_EQ(got, sum_of_squares(three, spans, kNone, workspace.data()));
  const double largest =
      std::fabs(*std::max_element(a.begin(), a.end(), [](float x, float y) { return std::fabs(x) < std::fabs(y); }));
  EXPECT_EQ(got, sum_of_squares(three, spans, largest * 1.001, workspace.data()));
  EXPECT_EQ(kNone, sum_of_squares(three, spans, largest, workspace.data()));
}

}  // namespace
}  // namespace plimsoll::cpu
