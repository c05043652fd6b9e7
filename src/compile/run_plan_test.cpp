#include "compile/run_plan.h"

#include <gtest/gtest.h>

#include "ops/op_def.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

int64_t no_workspace(const Graph&, const Op&) { return 0; }

// y = x wᵀ, kept by the host.
Graph product(const std::string& phase, const std::string& weight_name, Shape weight_shape = {6, 8}) {
  Graph graph;
  graph.phase = phase;
  const ValueId x = add_value(graph, {"x", DType::f32, {4, 8}, ValueKind::input});
  const ValueId weight = add_value(graph, {weight_name, DType::f32, std::move(weight_shape), ValueKind::parameter});
  graph.outputs = add_op(graph, {OpKind::linear, {x, weight}, LinearAttrs{}, "y"});
  return graph;
}

TEST(RunPlan, PersistentValuesKeepOnePlaceForAllPhases) {
  const RunPlan plan = plan_memory({product("a", "w"), product("b", "v"), product("c", "w")}, no_workspace);
  ASSERT_EQ(plan.persistent.size(), 2U);
  EXPECT_EQ(plan.persistent_bytes, 2 * 192);
  const auto place = [&](const char* phase, const char* name) {
    const ExecutionPlan& p = plan.phase(phase);
    return p.value_offset[static_cast<size_t>(p.graph.find(name))];
  };
  EXPECT_EQ(place("a", "w"), place("c", "w"));
  EXPECT_NE(place("a", "w"), place("b", "v"));
  EXPECT_GE(place("b", "x"), plan.persistent_bytes);  // above what stays
  EXPECT_EQ(plan.find_phase("d"), nullptr);
  EXPECT_EQ(catch_error([&] { (void)plan.phase("d"); }).kind, ErrorKind::internal);
}

TEST(RunPlan, SizesAddUp) {
  const RunPlan plan = plan_memory({product("a", "w")}, [](const Graph&, const Op&) { return int64_t{100}; });
  const ExecutionPlan& phase = plan.phases[0];
  // w 192, x and y 128 each (96 and 128 rounded up), scratch 128.
  EXPECT_EQ(plan.arena_bytes, 192 + 128 + 128 + 128);
  EXPECT_EQ(plan.lower_bound_bytes, plan.arena_bytes);
  EXPECT_EQ(phase.workspace_bytes[0], 100);
  EXPECT_EQ(phase.workspace_offset[0] % kArenaAlignment, 0);
  EXPECT_EQ(phase.at_peak[Category::parameters], 192);
  EXPECT_EQ(phase.at_peak[Category::activations], 256);
  EXPECT_EQ(phase.at_peak[Category::workspace], 128);
}

TEST(RunPlan, TheArenaIsTheLargestPhase) {
  const RunPlan plan = plan_memory({product("small", "w"), product("large", "w")}, [](const Graph& graph, const Op&) {
    return graph.phase == "large" ? int64_t{4096} : int64_t{64};
  });
  EXPECT_EQ(plan.peak_phase().name(), "large");
  EXPECT_EQ(plan.arena_bytes, plan.phase("large").arena_bytes);
  EXPECT_LT(plan.phase("small").arena_bytes, plan.arena_bytes);
}

TEST(RunPlan, TheSameNameWithAnotherShapeIsABug) {
  EXPECT_EQ(catch_error([] {
              plan_memory({product("a", "w"), product("b", "w", {7, 8})}, no_workspace);
            }).kind,
            ErrorKind::internal);
}

}  // namespace
}  // namespace plimsoll
