#include "backend/cpu/rows/swiglu.h"

#include <gtest/gtest.h>

#include "support/golden.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

// out (m,n) = a (m,k) · b, b stored (n,k) when transposed.
std::vector<float> product(const std::vector<float>& a, const std::vector<float>& b, size_t m, size_t n, size_t k,
                           bool transposed) {
  std::vector<float> out(m * n);
  for (size_t i = 0; i < m; ++i)
    for (size_t j = 0; j < n; ++j) {
      double sum = 0;
      for (size_t l = 0; l < k; ++l) sum += double{a[i * k + l]} * double{transposed ? b[j * k + l] : b[l * n + j]};
      out[i * n + j] = static_cast<float>(sum);
    }
  return out;
}
std::vector<float> transpose(const std::vector<float>& a, size_t rows, size_t columns) {
  std::vector<float> out(a.size());
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < columns; ++j) out[j * rows + i] = a[i * columns + j];
  return out;
}

TEST(Swiglu, TheWholeMlpAsTorch) {
  ThreadPool pool(2);
  const std::pair<const char*, GatedActivation> cases[] = {{"swiglu", GatedActivation::silu},
                                                           {"geglu_tanh", GatedActivation::gelu_tanh},
                                                           {"geglu_erf", GatedActivation::gelu_erf}};
  for (const auto& [name, act] : cases) {
    SCOPED_TRACE(name);
    const Golden g("ops/" + std::string(name) + ".safetensors");
    const auto x = g.f32("in.x"), down = g.f32("in.down");
    const auto gate = product(x, g.f32("in.gate"), 6, 24, 32, true), up = product(x, g.f32("in.up"), 6, 24, 32, true);
    std::vector<float> hidden(6 * 24);
    swiglu_forward(pool, act, DType::f32, 144, gate.data(), up.data(), hidden.data());
    expect_close(product(hidden, down, 6, 32, 24, true), g.f32("out.out"), 5e-6);

    const auto dy = g.f32("upstream.out");
    const auto d_hidden = product(dy, down, 6, 24, 32, false);
    std::vector<float> d_gate(144), d_up(144), again(144);
    swiglu_backward(pool, act, DType::f32, 144, d_hidden.data(), gate.data(), up.data(), d_gate.data(), d_up.data(),
                    again.data());
    EXPECT_EQ(again, hidden);
    expect_close(product(transpose(d_gate, 6, 24), x, 24, 32, 6, false), g.f32("grad.gate"), 5e-6);
    expect_close(product(transpose(d_up, 6, 24), x, 24, 32, 6, false), g.f32("grad.up"), 5e-6);
    auto dx = product(d_gate, g.f32("in.gate"), 6, 32, 24, false);
    const auto through_up = product(d_up, g.f32("in.up"), 6, 32, 24, false);
    for (size_t i = 0; i < dx.size(); ++i) dx[i] += through_up[i];
    expect_close(dx, g.f32("grad.x"), 5e-6);
  }
}

TEST(Swiglu, InPlaceAndNarrowAndThreads) {
  constexpr int64_t n = 40003;
  for (const GatedActivation act : {GatedActivation::silu, GatedActivation::gelu_tanh, GatedActivation::gelu_erf})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Typed gate(dtype, random_values(n, 1, 3)), up(dtype, random_values(n, 2)),
          d_out(dtype, random_values(n, 3));
      Typed out(dtype, std::vector<float>(n)), d_gate(out), d_up(out);
      ThreadPool one(1), three(3);
      swiglu_forward(one, act, dtype, n, gate.data(), up.data(), out.data());
      swiglu_backward(one, act, dtype, n, d_out.data(), gate.data(), up.data(), d_gate.data(), d_up.data());
      Typed g = gate, u = up, o = d_out;
      swiglu_backward(three, act, dtype, n, o.data(), g.data(), u.data(), g.data(), u.data(), o.data());
      EXPECT_TRUE(g == d_gate && u == d_up && o == out);

      std::vector<double> want(n);
      const auto x = gate.values(), y = up.values();
      for (size_t i = 0; i < n; ++i) {
        const double v = double{x[i]};
        const double a = act == GatedActivation::silu ? v / (1 + std::exp(-v))
                         : act == GatedActivation::gelu_tanh
                             ? v / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)))
                             : v / 2 * (1 + std::erf(v / std::sqrt(2.0)));
        want[i] = a * double{y[i]};
      }
      expect_close(out.values(), want, dtype == DType::f32 ? 1e-6 : 8e-3);
    }
}

TEST(Swiglu, LargeInputsStayFinite) {
  ThreadPool pool(1);
  const std::vector<float> gate = {-1e4F, -100, -90, 0, 90, 100, 1e4F}, up(7, 1);
  for (const GatedActivation act : {GatedActivation::silu, GatedActivation::gelu_tanh, GatedActivation::gelu_erf}) {
    std::vector<float> out(7), d_gate(7), d_up(7);
    swiglu_forward(pool, act, DType::f32, 7, gate.data(), up.data(), out.data());
    swiglu_backward(pool, act, DType::f32, 7, up.data(), gate.data(), up.data(), d_gate.data(), d_up.data());
    expect_close(out, std::vector<float>{0, 0, 0, 0, 90, 100, 1e4F}, 1e-6);
    expect_close(d_gate, std::vector<float>{0, 0, 0, 0.5F, 1, 1, 1}, 1e-6);
  }
}

}  // namespace
}  // namespace plimsoll::cpu
