#include "backend/cpu/rows/layer_norm.h"

#include <gtest/gtest.h>

#include "support/golden.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

struct Result {
  Typed y, dx;
  std::vector<float> mean_rstd, d_weight, d_bias;
  bool operator==(const Result&) const = default;
};

Result run(const LayerNormSpec& spec, const Typed& x, const Typed* weight, const Typed* bias, const Typed& dy,
           bool accumulate, int threads) {
  ThreadPool pool(threads);
  const std::vector<float> zeros(static_cast<size_t>(spec.rows * spec.width), 0);
  const std::vector<float> column(static_cast<size_t>(spec.width), 0);
  Result r{Typed(spec.dtype, zeros), accumulate ? x : Typed(spec.dtype, zeros),
           std::vector<float>(static_cast<size_t>(2 * spec.rows)), column, column};
  layer_norm_forward(pool, spec, x.data(), weight ? weight->data() : nullptr, bias ? bias->data() : nullptr, r.y.data(),
                     r.mean_rstd.data());
  std::vector<float> workspace(static_cast<size_t>(layer_norm_backward_workspace_bytes(spec)) / 4);
  layer_norm_backward(pool, spec, dy.data(), x.data(), weight ? weight->data() : nullptr, r.mean_rstd.data(),
                      r.dx.data(), accumulate, r.d_weight.data(), r.d_bias.data(), workspace.data());
  return r;
}

TEST(LayerNorm, AsTorch) {
  for (const char* name : {"layer_norm", "layer_norm_no_bias"}) {
    SCOPED_TRACE(name);
    const Golden g("ops/" + std::string(name) + ".safetensors");
    const LayerNormSpec spec{.rows = 6, .width = 32};
    const bool has_bias = g.has("in.bias");
    const Typed weight(DType::f32, g.f32("in.weight")),
        bias(DType::f32, has_bias ? g.f32("in.bias") : std::vector<float>());
    const Result r = run(spec, Typed(DType::f32, g.f32("in.x")), &weight, has_bias ? &bias : nullptr,
                         Typed(DType::f32, g.f32("upstream.out")), false, 2);
    expect_close(r.y.values(), g.f32("out.out"), 5e-6);
    expect_close(r.dx.values(), g.f32("grad.x"), 5e-6);
    expect_close(r.d_weight, g.f32("grad.weight"), 5e-6);
    if (has_bias) expect_close(r.d_bias, g.f32("grad.bias"), 5e-6);
  }
}

TEST(LayerNorm, OddShapesAgreeWithTheDefinition) {
  for (const int64_t width : {int64_t{5}, int64_t{16}, int64_t{64}, int64_t{577}})
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const DType weight_dtype : {DType::f32, dtype})
        for (const bool accumulate : {false, true}) {
          const LayerNormSpec spec{.rows = 1300, .width = width, .dtype = dtype, .weight_dtype = weight_dtype};
          const auto columns = static_cast<size_t>(width);
          const size_t n = 1300 * columns;
          const Typed x(dtype, random_values(n, 1)), dy(dtype, random_values(n, 2)),
              weight(weight_dtype, random_values(columns, 3)), bias(weight_dtype, random_values(columns, 4));
          const Result r = run(spec, x, &weight, &bias, dy, accumulate, 1);
          const auto xs = x.values(), gs = dy.values(), ws = weight.values(), bs = bias.values();
          std::vector<double> y(n), dx(n), dw(columns, 0), db(columns, 0);
          for (size_t at = 0; at < n; at += columns) {
            const auto size = static_cast<double>(width);
            double mean = 0, variance = 0, sum = 0, dot = 0;
            for (size_t i = 0; i < columns; ++i) mean += double{xs[at + i]} / size;
            for (size_t i = 0; i < columns; ++i)
              variance += (double{xs[at + i]} - mean) * (double{xs[at + i]} - mean) / size;
            const double rstd = 1 / std::sqrt(variance + 1e-5);
            for (size_t i = 0; i < columns; ++i) {
              const double normal = (double{xs[at + i]} - mean) * rstd, g = double{gs[at + i]};
              y[at + i] = normal * double{ws[i]} + double{bs[i]};
              sum += g * double{ws[i]} / size;
              dot += g * double{ws[i]} * normal / size;
              dw[i] += g * normal;
              db[i] += g;
            }
            for (size_t i = 0; i < columns; ++i) {
              const double normal = (double{xs[at + i]} - mean) * rstd;
              dx[at + i] = rstd * (double{gs[at + i]} * double{ws[i]} - sum - normal * dot) +
                           (accumulate ? double{xs[at + i]} : 0);
            }
          }
          const double tolerance = dtype == DType::f32 ? 1e-5 : 8e-3;
          expect_close(r.y.values(), y, tolerance);
          expect_close(r.dx.values(), dx, tolerance);
          expect_close(r.d_weight, dw, tolerance);
          expect_close(r.d_bias, db, tolerance);
          EXPECT_TRUE(r == run(spec, x, &weight, &bias, dy, accumulate, 3)) << "threads change the bits";
        }
}

// The variance is taken around the mean: a large offset costs no digits of it.
TEST(LayerNorm, LargeMean) {
  const LayerNormSpec spec{.rows = 1, .width = 64};
  std::vector<float> values = random_values(64, 1), moved = values;
  for (float& value : moved) value += 4096;
  for (size_t i = 0; i < 64; ++i) values[i] = moved[i] - 4096;  // what is left of them
  const Typed dy(DType::f32, random_values(64, 2));
  expect_close(run(spec, Typed(DType::f32, moved), nullptr, nullptr, dy, false, 1).y.values(),
               run(spec, Typed(DType::f32, values), nullptr, nullptr, dy, false, 1).y.values(), 1e-3);
}

TEST(LayerNorm, WithoutWeightsAndInPlace) {
  ThreadPool pool(2);
  const LayerNormSpec spec{.rows = 33, .width = 20};
  const Typed x(DType::f32, random_values(660, 1)), ones(DType::f32, std::vector<float>(20, 1));
  auto dy = random_values(660, 3);
  const Result with = run(spec, x, &ones, nullptr, Typed(DType::f32, dy), false, 1);
  const Result without = run(spec, x, nullptr, nullptr, Typed(DType::f32, dy), false, 1);
  EXPECT_TRUE(with == without);
  layer_norm_backward(pool, spec, dy.data(), x.data(), nullptr, with.mean_rstd.data(), dy.data(), false, nullptr,
                      nullptr, nullptr);
  EXPECT_EQ(dy, with.dx.wide);
}

}  // namespace
}  // namespace plimsoll::cpu
