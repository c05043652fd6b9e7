// Every differentiable op as a run meets it: in a graph, planned, on the CPU backend. Its value against a definition in
// double; its gradient rule against central differences of that definition. In f32, and loosely in bf16.
#include <gtest/gtest.h>

#include <set>

#include "op/op_case.h"
#include "ops/gradient_builder.h"
#include "ops/op_def.h"
#include "passes/autodiff.h"
#include "support/graph_runner.h"
#include "support/numbers.h"

namespace plimsoll {
namespace {

using Role = OpOperand::Role;

std::vector<float> floats(const Numbers& values) { return {values.begin(), values.end()}; }

// Operands as the kernels see them: rounded to their dtype, then widened.
std::vector<Numbers> draw_operands(const OpCase& test, DType dtype) {
  std::vector<Numbers> operands;
  for (const OpOperand& operand : test.operands) {
    if (!operand.values.empty()) {
      operands.push_back(operand.values);
      continue;
    }
    std::vector<float> values =
        random_values(static_cast<size_t>(operand.shape.elements()), 17 + static_cast<unsigned>(operands.size()));
    if (dtype == DType::bf16) values = from_bf16(to_bf16(values));
    operands.emplace_back(values.begin(), values.end());
  }
  return operands;
}

struct BuiltOp {
  Graph graph;
  std::vector<ValueId> operands, gradients;  // gradients: by operand; kNoValue where there is none
  std::vector<ValueId> so_far;               // what had reached each input before
  std::vector<ValueId> results, upstream;
};

bool is_weight(Role role) { return role == Role::weight || role == Role::f32_weight; }

bool differentiated(const OpCase& test, size_t i) {
  const Role role = test.operands[i].role;
  return test.has_gradient && (role == Role::input || role == Role::f32_input || is_weight(role));
}

BuiltOp build(const OpCase& test, DType dtype, bool with_so_far) {
  BuiltOp built;
  Graph& graph = built.graph;
  graph.phase = test.name;
  std::unordered_map<ValueId, ValueId> accumulators;
  for (size_t i = 0; i < test.operands.size(); ++i) {
    const OpOperand& operand = test.operands[i];
    if (operand.role == Role::absent) {
      for (std::vector<ValueId>* ids : {&built.operands, &built.gradients, &built.so_far}) ids->push_back(kNoValue);
      continue;
    }
    const bool wide =
        operand.role == Role::fixed || operand.role == Role::f32_input || operand.role == Role::f32_weight;
    const DType type = operand.role == Role::integers ? DType::i32 : wide ? DType::f32 : dtype;
    const ValueKind kind = is_weight(operand.role) ? ValueKind::parameter : ValueKind::input;
    built.operands.push_back(add_value(graph, {operand.name, type, operand.shape, kind}));
    built.gradients.push_back(kNoValue);
    built.so_far.push_back(kNoValue);
    if (is_weight(operand.role) && test.has_gradient)
      built.gradients[i] = accumulators[built.operands[i]] =
          add_value(graph, {gradient_name(operand.name), DType::f32, operand.shape, ValueKind::gradient});
    else if (differentiated(test, i) && with_so_far)
      built.so_far[i] = add_value(graph, {"so_far." + operand.name, type, operand.shape, ValueKind::input});
  }
  built.results = add_op(graph, {test.kind, built.operands, test.attrs, test.name});
  built.results.resize(static_cast<size_t>(test.results));
  graph.outputs = built.results;
  if (test.has_gradient) {
    for (const ValueId id : built.results) {
      const Value result = graph.value(id);
      built.upstream.push_back(add_value(graph, {"upstream", result.dtype, result.shape, ValueKind::input}));
    }
    std::vector<bool> needs(graph.values.size(), false);
    for (size_t i = 0; i < test.operands.size(); ++i)
      if (built.operands[i] != kNoValue) needs[static_cast<size_t>(built.operands[i])] = differentiated(test, i);
    GradientBuilder builder(graph, accumulators, needs);
    for (size_t i = 0; i < built.results.size(); ++i) builder.set_gradient(built.results[i], built.upstream[i]);
    for (size_t i = 0; i < test.operands.size(); ++i)
      if (built.so_far[i] != kNoValue) builder.set_gradient(built.operands[i], built.so_far[i]);
    const Op op = graph.ops[0];
    op_def(test.kind).gradient(builder, op);
    built.results = graph.outputs;  // the loss moves to its gradient op
    for (size_t i = 0; i < test.operands.size(); ++i) {
      if (!differentiated(test, i) || is_weight(test.operands[i].role)) continue;
      built.gradients[i] = builder.gradient_of(built.operands[i]);
      graph.outputs.push_back(built.gradients[i]);
    }
  }
  verify(graph);
  return built;
}

// d (upstream · reference) / d operand, by central differences.
Numbers differences(const OpCase& test, std::vector<Numbers> operands, size_t index, const Numbers& upstream) {
  constexpr double kStep = 1e-5;
  const auto value = [&] {
    const Numbers out = test.reference(operands);
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += out[i] * upstream[i];
    return sum;
  };
  Numbers gradient;
  for (double& x : operands[index]) {
    const double before = x;
    x = before + kStep;
    const double above = value();
    x = before - kStep;
    gradient.push_back((above - value()) / (2 * kStep));
    x = before;
  }
  return gradient;
}

void expect_near(const std::vector<float>& got, const Numbers& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double largest = 1e-30;
  for (const double value : want) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(static_cast<double>(got[i]), want[i], tolerance * std::max(largest, 1.0)) << what << " at " << i;
}

void check(const OpCase& test, DType dtype, bool with_so_far) {
  SCOPED_TRACE(std::string(dtype == DType::f32 ? "f32" : "bf16") + (with_so_far ? ", onto another gradient" : ""));
  const BuiltOp built = build(test, dtype, with_so_far);
  const std::vector<Numbers> operands = draw_operands(test, dtype);
  const double tolerance = dtype == DType::f32 ? test.tolerance : test.bf16_tolerance;
  constexpr float kBefore = 0.5F;  // accumulators are added onto

  GraphRunner runner({built.graph});
  for (size_t i = 0; i < operands.size(); ++i) {
    if (built.operands[i] == kNoValue) continue;
    runner.set(built.operands[i], floats(operands[i]));
    if (built.so_far[i] != kNoValue) runner.set(built.so_far[i], std::vector<float>(operands[i].size(), kBefore));
    if (differentiated(test, i) && is_weight(test.operands[i].role))
      runner.set(built.gradients[i], std::vector<float>(operands[i].size(), kBefore));
  }
  const Numbers value = test.reference(operands);
  std::vector<float> upstream =
      test.kind == OpKind::linear_cross_entropy || test.kind == OpKind::route_balance  // terms of the loss
          ? std::vector<float>(1, 1.0F)
          : random_values(value.size(), 5);
  if (dtype == DType::bf16) upstream = from_bf16(to_bf16(upstream));
  auto part = upstream.begin();
  for (const ValueId id : built.upstream) {
    const auto end = part + built.graph.value(id).shape.elements();
    if (runner.plan().phases[0].value_offset[static_cast<size_t>(id)] >= 0) runner.set(id, {part, end});
    part = end;
  }
  runner.state().row = 3;
  runner.run();

  std::vector<float> got;
  for (const ValueId id : built.results) {
    const std::vector<float> one = runner.get(id);
    got.insert(got.end(), one.begin(), one.end());
  }
  expect_near(got, value, tolerance, "value");
  for (size_t i = 0; i < operands.size(); ++i) {
    if (!differentiated(test, i)) continue;
    Numbers want = differences(test, operands, i, {upstream.begin(), upstream.end()});
    const bool onto = is_weight(test.operands[i].role) || with_so_far;
    for (double& number : want) number += onto ? static_cast<double>(kBefore) : 0.0;
    expect_near(runner.get(built.gradients[i]), want, tolerance, "gradient of " + test.operands[i].name);
  }
}

class OpTest : public testing::TestWithParam<OpCase> {};

TEST_P(OpTest, ValueAndGradient) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    check(GetParam(), dtype, false);
    if (GetParam().has_gradient && GetParam().sums_gradients) check(GetParam(), dtype, true);
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, OpTest, testing::ValuesIn(op_cases()), [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(CpuLinear, OpTest, testing::ValuesIn(linear_cases()),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(CpuAttention, OpTest, testing::ValuesIn(attention_cases()),
                         [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(CpuMixture, OpTest, testing::ValuesIn(mixture_cases()),
                         [](const auto& info) { return info.param.name; });

TEST(OpTable, EveryDifferentiableOpIsTested) {
  std::set<OpKind> tested;
  for (const OpCase& test : op_cases())
    if (test.has_gradient) tested.insert(test.kind);
  for (const OpCase& test : linear_cases())
    if (test.has_gradient) tested.insert(test.kind);
  for (const OpCase& test : attention_cases()) tested.insert(test.kind);
  for (const OpCase& test : mixture_cases())
    if (test.has_gradient) tested.insert(test.kind);
  for (int i = 0; i < kOpKindCount; ++i) {
    const auto kind = static_cast<OpKind>(i);
    EXPECT_EQ(op_def(kind).gradient != nullptr, tested.contains(kind)) << name_of(kind);
    EXPECT_NE(cpu_backend().kernels[static_cast<size_t>(i)], nullptr) << name_of(kind);
  }
}

}  // namespace
}  // namespace plimsoll
