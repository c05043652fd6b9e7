#include "passes/first_write.h"

#include <gtest/gtest.h>

#include "ops/op_def.h"

namespace plimsoll {
namespace {

class FirstWrite : public ::testing::Test {
 protected:
  void add_to(ValueId accumulator) {
    const ValueId dy = add_value(graph_, {"dy", DType::f32, {4, 8}, ValueKind::input});
    const ValueId x = add_value(graph_, {"x", DType::f32, {4, 6}, ValueKind::input});
    add_op(graph_, {OpKind::linear_grad_weight, {dy, x, accumulator}, LinearAttrs{}, "grad_weight", OpRole::backward});
  }
  ValueId gradient(const char* name) { return add_value(graph_, {name, DType::f32, {8, 6}, ValueKind::gradient}); }
  bool starts(size_t op) const { return graph_.ops[op].attributes<LinearAttrs>().starts_sum; }
  Graph graph_;
};

TEST_F(FirstWrite, TheOnlyOpThatAddsStartsTheSum) {
  add_to(gradient("grad.a"));
  EXPECT_EQ(mark_first_writes(graph_), std::unordered_set<std::string>{"grad.a"});
  EXPECT_TRUE(starts(0));
}

TEST_F(FirstWrite, SharedGradientsAreCleared) {
  const ValueId shared = gradient("grad.shared");
  add_to(shared);
  add_to(shared);
  EXPECT_TRUE(mark_first_writes(graph_).empty());
  EXPECT_FALSE(starts(0));
  EXPECT_FALSE(starts(1));
}

}  // namespace
}  // namespace plimsoll
