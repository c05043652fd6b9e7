#include "backend/cpu/mixture/route.h"

#include <gtest/gtest.h>

#include "support/golden.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

using Score = RouteSpec::Score;

struct Routed {
  std::vector<float> weights, d_logits;
  std::vector<int32_t> experts, slots, offsets;
  bool operator==(const Routed&) const = default;
};

Routed run(const RouteSpec& spec, const Typed& logits, const std::vector<float>& correction,
           const std::vector<float>& upstream, int threads) {
  ThreadPool pool(threads);
  const auto choices = static_cast<size_t>(spec.rows * spec.top_k);
  Routed r{std::vector<float>(choices, -1), std::vector<float>(static_cast<size_t>(spec.rows * spec.experts), -1),
           std::vector<int32_t>(choices, -1), std::vector<int32_t>(choices, -1),
           std::vector<int32_t>(static_cast<size_t>(spec.experts + 1), -1)};
  route_forward(pool, spec, logits.data(), correction.empty() ? nullptr : correction.data(), r.weights.data(),
                r.experts.data(), r.slots.data(), r.offsets.data());
  if (!upstream.empty())
    route_backward(pool, spec, upstream.data(), logits.data(), r.weights.data(), r.experts.data(), DType::f32,
                   r.d_logits.data());
  return r;
}

// Offsets count the choices, and slots are sorted by expert, then by row.
void expect_sorted(const RouteSpec& spec, const Routed& r) {
  std::vector<int32_t> next(r.offsets.begin(), r.offsets.end() - 1);
  for (size_t i = 0; i < r.experts.size(); ++i)
    EXPECT_EQ(r.slots[i], next[static_cast<size_t>(r.experts[i])]++) << "choice " << i;
  for (size_t e = 0; e < next.size(); ++e) EXPECT_EQ(next[e], r.offsets[e + 1]) << "expert " << e;
  EXPECT_EQ(r.offsets.front(), 0);
  EXPECT_EQ(r.offsets.back(), spec.rows * spec.top_k);
}

TEST(Route, AsTorch) {
  RouteSpec softmax{.rows = 8, .experts = 8, .top_k = 2}, normalized = softmax, chosen = softmax, groups = softmax;
  normalized.normalize = groups.normalize = true;
  chosen.score = Score::chosen_softmax;
  groups.score = Score::sigmoid;
  groups.groups = 4;
  groups.groups_kept = 2;
  groups.scale = 2.5F;
  for (const auto& [name, spec] : {std::pair{"route_softmax_topk", softmax},
                                   {"route_softmax_topk_normalized", normalized},
                                   {"route_topk_softmax", chosen},
                                   {"route_sigmoid_groups", groups}}) {
    SCOPED_TRACE(name);
    const Golden g(std::string("ops/") + name + ".safetensors");
    const std::vector<float> correction = g.has("const.bias") ? g.f32("const.bias") : std::vector<float>{};
    const Routed r = run(spec, Typed(DType::f32, g.f32("in.logits")), correction, g.f32("upstream.weights"), 2);
    EXPECT_EQ(r.experts, g.i32("out.indices"));
    expect_close(r.weights, g.f32("out.weights"), 5e-6);
    expect_close(r.d_logits, g.f32("grad.logits"), 5e-6);
    expect_sorted(spec, r);
  }
}

TEST(Route, SameBitsForAnyThreadCount) {
  RouteSpec spec{.rows = 131, .experts = 33, .top_k = 5, .normalize = true};
  const auto logits = random_values(131 * 33, 3), upstream = random_values(131 * 5, 4);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    spec.dtype = dtype;
    const Typed typed(dtype, logits);
    const Routed one = run(spec, typed, {}, upstream, 1);
    expect_sorted(spec, one);
    EXPECT_EQ(run(spec, typed, {}, upstream, 2), one);
    EXPECT_EQ(run(spec, typed, {}, upstream, 3), one);
  }
}

TEST(Route, TiesGoToTheLowerExpertAndNonsenseStaysInBounds) {
  const RouteSpec spec{.rows = 2, .experts = 4, .top_k = 2};
  const float nan = std::nanf("");
  const Routed r = run(spec, Typed(DType::f32, {1, 1, 1, 1, nan, nan, nan, nan}), {}, {}, 1);
  EXPECT_EQ(r.experts[0], 0);
  EXPECT_EQ(r.experts[1], 1);
  expect_sorted(spec, r);
}

// A group with the best expert against one with the two next best.
TEST(Route, GroupsGoByTheirBestOrByTheirTwoBest) {
  RouteSpec spec{.rows = 1, .experts = 4, .top_k = 2, .groups = 2, .groups_kept = 1};
  const Typed logits(DType::f32, {1, -2, 0.5, 0.75});
  EXPECT_EQ(run(spec, logits, {}, {}, 1).experts, (std::vector<int32_t>{0, 1}));
  spec.score = Score::sigmoid;
  EXPECT_EQ(run(spec, logits, {}, {}, 1).experts, (std::vector<int32_t>{3, 2}));
}

// All tokens to one expert: the layout still has room for every choice.
TEST(Route, AllToOneExpert) {
  const RouteSpec spec{.rows = 40, .experts = 3, .top_k = 1};
  std::vector<float> logits;
  for (int i = 0; i < 40; ++i) logits.insert(logits.end(), {0, 9, 0});
  const Routed r = run(spec, Typed(DType::f32, logits), {}, {}, 2);
  EXPECT_EQ(r.offsets, (std::vector<int32_t>{0, 0, 40, 40}));
}

}  // namespace
}  // namespace plimsoll::cpu
