#include "ops/op_def.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/test_files.h"

namespace plimsoll {
namespace {

void expect_broken(const Graph& graph, const std::string& part) {
  const Caught caught = catch_error([&] { verify(graph); });
  EXPECT_EQ(caught.kind, ErrorKind::internal);
  EXPECT_NE(caught.text.find(part), std::string::npos) << caught.text;
}

class OpDefTest : public testing::Test {
 protected:
  OpDefTest() {
    x_ = add_value(graph_, {"x", DType::f32, {4, 8}, ValueKind::input});
    weight_ = add_value(graph_, {"w", DType::f32, {6, 8}, ValueKind::parameter});
    y_ = add_op(graph_, {OpKind::linear, {x_, weight_}, LinearAttrs{}, "first"})[0];
    norm_ = add_value(graph_, {"norm", DType::f32, {6}, ValueKind::parameter});
    normed_ = add_op(graph_, {OpKind::rms_norm, {y_, norm_}, RmsNormAttrs{}, "second"});
    graph_.outputs = {normed_[0]};
  }
  Graph graph_;
  ValueId x_, weight_, y_, norm_;
  std::vector<ValueId> normed_;
};

TEST_F(OpDefTest, ShapesAndNamesComeFromTheRules) {
  verify(graph_);
  EXPECT_EQ(graph_.value(y_).shape, (Shape{4, 6}));
  EXPECT_EQ(graph_.value(y_).name, "first");
  EXPECT_EQ(graph_.value(normed_[1]).name, "second.rstd");
  EXPECT_EQ(graph_.value(normed_[1]).shape, (Shape{4}));
  EXPECT_EQ(graph_.value(normed_[1]).producer, 1);
  EXPECT_EQ(graph_.find("second.rstd"), normed_[1]);
  EXPECT_EQ(graph_.find("third"), kNoValue);
}

TEST_F(OpDefTest, CostOfAProduct) {
  const OpCost cost = op_cost(graph_, graph_.ops[0]);
  EXPECT_EQ(cost.flops, 2.0 * 4 * 8 * 6);
  EXPECT_EQ(cost.bytes_accessed, 4 * (4 * 8 + 6 * 8 + 4 * 6));
}

TEST_F(OpDefTest, TheVerifierFindsWhatIsBroken) {
  Graph late = graph_;
  std::swap(late.ops[0], late.ops[1]);
  expect_broken(late, "before it is written");

  Graph twice = graph_;
  twice.ops.push_back(twice.ops[1]);
  expect_broken(twice, "producer is wrong");

  Graph shape = graph_;
  shape.value(y_).shape = {4, 7};
  expect_broken(shape, "first");

  Graph type = graph_;
  type.value(y_).dtype = DType::bf16;
  expect_broken(type, "first");

  Graph outside = graph_;
  outside.ops[0].operands[1] = 99;
  expect_broken(outside, "out of range");

  Graph orphan = graph_;
  add_value(orphan, {"orphan", DType::f32, {1}, ValueKind::activation});
  expect_broken(orphan, "orphan has no producer");

  Graph update = graph_;
  add_op(update, {OpKind::fill_zero, {y_}, {}, "clear"});
  expect_broken(update, "not persistent");
}

TEST_F(OpDefTest, OperandsThatDoNotFitAreRefused) {
  const auto refuse = [&](NewOp op) {
    Graph copy = graph_;
    EXPECT_EQ(catch_error([&] { add_op(copy, op); }).kind, ErrorKind::internal) << op.name;
  };
  LinearAttrs untransposed, bias, addend;
  untransposed.transpose_weight = false;
  bias.has_bias = addend.has_addend = true;
  refuse({OpKind::linear, {x_, weight_}, untransposed, "inner"});
  refuse({OpKind::linear, {x_, weight_, weight_}, bias, "bias"});
  refuse({OpKind::linear, {x_, weight_, x_}, addend, "addend"});
  refuse({OpKind::add, {x_, y_}, {}, "add"});
  refuse({OpKind::gated_activation, {x_, y_}, GatedActivationAttrs{}, "gated"});
  refuse({OpKind::rms_norm, {x_, norm_}, RmsNormAttrs{}, "norm"});
  refuse({OpKind::embedding, {x_, weight_}, EmbeddingAttrs{}, "ids"});
  refuse({OpKind::linear_cross_entropy, {x_, weight_, norm_, norm_}, CrossEntropyAttrs{4}, "labels"});
}

TEST_F(OpDefTest, PrintsOneLineAnOp) {
  const std::string text = print(graph_);
  EXPECT_NE(text.find("first"), std::string::npos);
  EXPECT_NE(text.find("linear("), std::string::npos);
  EXPECT_NE(text.find("rms_norm("), std::string::npos);
}

TEST(OpTable, NamesAreUniqueAndInPlaceUpdatesAreOfPersistentValues) {
  std::vector<std::string> names;
  for (int i = 0; i < kOpKindCount; ++i) names.emplace_back(name_of(static_cast<OpKind>(i)));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

}  // namespace
}  // namespace plimsoll
