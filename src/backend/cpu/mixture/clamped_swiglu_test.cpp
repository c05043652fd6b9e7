#include "backend/cpu/mixture/clamped_swiglu.h"

#include <gtest/gtest.h>

#include "support/golden.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

TEST(ClampedSwiglu, AsTorch) {
  const Golden g("ops/swiglu_clamped.safetensors");
  ThreadPool pool(2);
  const auto gate = g.f32("in.gate"), up = g.f32("in.up"), dy = g.f32("upstream.out");
  std::vector<float> pairs, y(gate.size()), d_gate, d_up;
  for (size_t i = 0; i < gate.size(); ++i) pairs.insert(pairs.end(), {gate[i], up[i]});
  const auto n = static_cast<int64_t>(gate.size());
  clamped_swiglu_forward(pool, 1.702F, 7.0F, DType::f32, n, pairs.data(), y.data());
  expect_close(y, g.f32("out.out"), 5e-6);
  clamped_swiglu_backward(pool, 1.702F, 7.0F, DType::f32, n, dy.data(), pairs.data(), pairs.data());
  for (size_t i = 0; i < gate.size(); ++i) d_gate.push_back(pairs[2 * i]), d_up.push_back(pairs[2 * i + 1]);
  expect_close(d_gate, g.f32("grad.gate"), 5e-6);
  expect_close(d_up, g.f32("grad.up"), 5e-6);
}

}  // namespace
}  // namespace plimsoll::cpu
