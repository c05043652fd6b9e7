#include "backend/cpu/rows/activation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/golden.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

struct Case {
  const char* golden;
  ActivationKind kind;
};
constexpr Case kCases[] = {{"silu", ActivationKind::silu},
                           {"gelu_tanh", ActivationKind::gelu_tanh},
                           {"gelu_new", ActivationKind::gelu_tanh},
                           {"gelu_erf", ActivationKind::gelu_erf},
                           {"relu", ActivationKind::relu},
                           {"quick_gelu", ActivationKind::quick_gelu},
                           {"relu_squared", ActivationKind::relu_squared}};

TEST(Activation, AsTorch) {
  ThreadPool pool(2);
  for (const Case& test : kCases) {
    SCOPED_TRACE(test.golden);
    const Golden g("ops/" + std::string(test.golden) + ".safetensors");
    std::vector<float> x = g.f32("in.x"), dy = g.f32("upstream.out"), y(x.size()), dx(x.size());
    const auto n = static_cast<int64_t>(x.size());
    activation_forward(pool, test.kind, DType::f32, n, x.data(), y.data());
    activation_backward(pool, test.kind, DType::f32, n, dy.data(), x.data(), dx.data());
    expect_close(y, g.f32("out.out"), 5e-6);
    expect_close(dx, g.f32("grad.x"), 5e-6);
    activation_forward(pool, test.kind, DType::f32, n, x.data(), x.data());  // in place
    EXPECT_EQ(x, y);
  }
}

// Over the whole range, tails included: x Φ(x) keeps its relative digits where it is tiny.
TEST(Activation, GeluHasRelativeDigits) {
  ThreadPool pool(1);
  std::vector<float> x;
  for (float value = -12; value <= 12; value += 0.01F) x.push_back(value);
  std::vector<float> y(x.size()), slope(x.size()), ones(x.size(), 1);
  activation_forward(pool, ActivationKind::gelu_erf, DType::f32, static_cast<int64_t>(x.size()), x.data(), y.data());
  activation_backward(pool, ActivationKind::gelu_erf, DType::f32, static_cast<int64_t>(x.size()), ones.data(), x.data(),
                      slope.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = double{x[i]}, phi = 0.5 * std::erfc(-exact / std::sqrt(2.0));
    // exp(-x²/2) of an f32 argument loses digits in proportion to x².
    EXPECT_NEAR(double{y[i]}, exact * phi, (1e-6 + 1e-7 * exact * exact) * std::abs(exact * phi) + 1e-37) << x[i];
    EXPECT_NEAR(double{slope[i]}, phi + exact * std::exp(-exact * exact / 2) / std::sqrt(2 * M_PI), 1e-6) << x[i];
  }
}

TEST(Activation, Bf16AndThreads) {
  const size_t n = 40001;
  for (const Case& test : kCases) {
    SCOPED_TRACE(test.golden);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Typed x(dtype, random_values(n, 1)), dy(dtype, random_values(n, 2));
      Typed y[2] = {x, x}, dx[2] = {x, x};
      std::vector<float> wide(n);
      for (const int threads : {1, 3}) {
        ThreadPool pool(threads);
        activation_forward(pool, test.kind, dtype, static_cast<int64_t>(n), x.data(), y[threads / 2].data());
        activation_backward(pool, test.kind, dtype, static_cast<int64_t>(n), dy.data(), x.data(),
                            dx[threads / 2].data());
        activation_forward(pool, test.kind, DType::f32, static_cast<int64_t>(n), x.values().data(), wide.data());
      }
      EXPECT_TRUE(y[0] == y[1] && dx[0] == dx[1]) << "threads change the bits";
      expect_close(y[0].values(), wide, dtype == DType::f32 ? 1e-7 : 4e-3);
    }
  }
}

}  // namespace
}  // namespace plimsoll::cpu
