#include "backend/cpu/rows/rms_norm.h"

#include <gtest/gtest.h>

#include "support/golden.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

struct Result {
  Typed y, dx;
  std::vector<float> rstd, d_weight;
  bool operator==(const Result&) const = default;
};

Result run(const RmsNormSpec& spec, const Typed& x, const Typed& weight, const Typed& dy, bool accumulate,
           int threads) {
  ThreadPool pool(threads);
  const std::vector<float> zeros(static_cast<size_t>(spec.rows * spec.width), 0);
  Result r{Typed(spec.dtype, zeros), accumulate ? x : Typed(spec.dtype, zeros),
           std::vector<float>(static_cast<size_t>(spec.rows)), std::vector<float>(static_cast<size_t>(spec.width), 0)};
  rms_norm_forward(pool, spec, x.data(), weight.data(), r.y.data(), r.rstd.data());
  std::vector<float> workspace(static_cast<size_t>(rms_norm_backward_workspace_bytes(spec)) / 4);
  rms_norm_backward(pool, spec, dy.data(), x.data(), weight.data(), r.rstd.data(), r.dx.data(), accumulate,
                    r.d_weight.data(), workspace.data());
  return r;
}

TEST(RmsNorm, AsTorch) {
  for (const char* name : {"rms_norm", "rms_norm_plus_one", "rms_norm_small_input"}) {
    SCOPED_TRACE(name);
    const Golden g("ops/" + std::string(name) + ".safetensors");
    RmsNormSpec spec{.rows = 6, .width = 32};
    if (std::string(name) == "rms_norm_plus_one") spec.weight_offset = 1;
    if (std::string(name) == "rms_norm_small_input") spec.eps = 1e-5F;
    const Result r = run(spec, Typed(DType::f32, g.f32("in.x")), Typed(DType::f32, g.f32("in.weight")),
                         Typed(DType::f32, g.f32("upstream.out")), false, 2);
    expect_close(r.y.values(), g.f32("out.out"), 5e-6);
    expect_close(r.dx.values(), g.f32("grad.x"), 5e-6);
    expect_close(r.d_weight, g.f32("grad.weight"), 5e-6);
  }
}

TEST(RmsNorm, OddShapesAgreeWithTheDefinition) {
  for (const int64_t width : {int64_t{5}, int64_t{16}, int64_t{64}, int64_t{577}})
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const DType weight_dtype : {DType::f32, dtype})
        for (const bool accumulate : {false, true}) {
          const RmsNormSpec spec{.rows = 1300, .width = width, .dtype = dtype, .weight_dtype = weight_dtype};
          const size_t n = static_cast<size_t>(spec.rows * width);
          const Typed x(dtype, random_values(n, 1)), dy(dtype, random_values(n, 2)),
              weight(weight_dtype, random_values(static_cast<size_t>(width), 3));
          const Result r = run(spec, x, weight, dy, accumulate, 1);
          const auto xs = x.values(), gs = dy.values(), ws = weight.values();
          std::vector<double> y(n), dx(n), dw(static_cast<size_t>(width), 0);
          for (size_t row = 0; row < 1300; ++row) {
            const size_t at = row * static_cast<size_t>(width);
            double squares = 0, dot = 0;
            for (size_t i = 0; i < static_cast<size_t>(width); ++i) squares += double{xs[at + i]} * double{xs[at + i]};
            const double rstd = 1 / std::sqrt(squares / static_cast<double>(width) + 1e-6);
            for (size_t i = 0; i < static_cast<size_t>(width); ++i) {
              y[at + i] = double{xs[at + i]} * rstd * double{ws[i]};
              dot += double{gs[at + i]} * double{ws[i]} * double{xs[at + i]} * rstd / static_cast<double>(width);
              dw[i] += double{gs[at + i]} * double{xs[at + i]} * rstd;
            }
            for (size_t i = 0; i < static_cast<size_t>(width); ++i)
              dx[at + i] = rstd * (double{gs[at + i]} * double{ws[i]} - double{xs[at + i]} * rstd * dot) +
                           (accumulate ? double{xs[at + i]} : 0);
          }
          const double tolerance = dtype == DType::f32 ? 1e-5 : 8e-3;
          expect_close(r.y.values(), y, tolerance);
          expect_close(r.dx.values(), dx, tolerance);
          expect_close(r.d_weight, dw, tolerance);
          EXPECT_TRUE(r == run(spec, x, weight, dy, accumulate, 3)) << "threads change the bits";
        }
}

TEST(RmsNorm, GradientMayTakeTheUpstreamsPlace) {
  ThreadPool pool(2);
  const RmsNormSpec spec{.rows = 33, .width = 20};
  const auto x = random_values(660, 1), weight = random_values(20, 2);
  auto dy = random_values(660, 3);
  const Result apart = run(spec, Typed(DType::f32, x), Typed(DType::f32, weight), Typed(DType::f32, dy), false, 1);
  rms_norm_backward(pool, spec, dy.data(), x.data(), weight.data(), apart.rstd.data(), dy.data(), false, nullptr,
                    nullptr);
  EXPECT_EQ(dy, apart.dx.wide);
}

}  // namespace
}  // namespace plimsoll::cpu
