// Two layers with fake-quantized weights against PyTorch: loss, and straight-through gradients of weights, biases and
// the input.
#include "ops/gradient_builder.h"
#include "ops/op_def.h"
#include "support/graph_runner.h"
#include "support/tensor_files.h"

namespace plimsoll {
namespace {

void check(const std::string& file, int bits, int64_t group) {
  SCOPED_TRACE(file);
  const Golden golden("quant/fake_quant/" + file);
  const auto shape_of = [&](const std::string& name) { return Shape{std::span<const int64_t>(golden.shape(name))}; };
  Graph graph;
  graph.phase = "qat";
  std::unordered_map<ValueId, ValueId> accumulators;
  std::unordered_map<std::string, ValueId> id;
  const auto add = [&](const std::string& name, const std::string& tensor, ValueKind kind) {
    return id[name] = add_value(graph, {name, DType::f32, shape_of(tensor), kind});
  };
  add("x", "x", ValueKind::input);
  add("upstream", "y", ValueKind::input);
  for (const std::string name : {"w1", "b1", "w2", "b2"}) {
    add(name, name, ValueKind::parameter);
    accumulators[id[name]] = add("grad." + name, name, ValueKind::gradient);
  }
  for (const std::string name : {"w1", "w2"}) {
    add("master." + name, name, ValueKind::master_weights);
    add_op(graph,
           {OpKind::fake_quant, {id["master." + name], id[name]}, FakeQuantAttrs{bits, group, true}, "q." + name});
  }
  LinearAttrs linear;
  linear.has_bias = true;
  const size_t first = graph.ops.size();
  const ValueId h = add_op(graph, {OpKind::linear, {id["x"], id["w1"], id["b1"]}, linear, "first"})[0];
  const ValueId r = add_op(graph, {OpKind::activation, {h}, ActivationAttrs{Activation::relu}, "relu"})[0];
  const ValueId out = add_op(graph, {OpKind::linear, {r, id["w2"], id["b2"]}, linear, "second"})[0];
  std::vector<bool> needs(graph.values.size(), true);
  GradientBuilder builder(graph, accumulators, needs);
  builder.set_gradient(out, id["upstream"]);
  for (size_t op = graph.ops.size(); op-- > first;) {
    const Op forward = graph.ops[op];
    op_def(forward.kind).gradient(builder, forward);
  }
  const ValueId dx = builder.gradient_of(id["x"]);
  graph.outputs = {out, dx};
  verify(graph);

  GraphRunner runner({graph});
  const auto y = golden.f32("y");
  std::vector<float> upstream(y.size(), 0.0F);
  double loss = 0;
  for (int round = 0; round < 2; ++round) {  // the first for the loss, whose gradient the second begins with
    runner.set("x", golden.f32("x"));
    runner.set("upstream", upstream);
    for (const std::string name : {"w1", "b1", "w2", "b2"}) {
      runner.set(name, golden.f32(name));
      runner.set("grad." + name, std::vector<float>(golden.f32(name).size(), 0.0F));
    }
    for (const std::string name : {"w1", "w2"}) runner.set("master." + name, golden.f32(name));
    runner.run();
    const auto got = runner.get(out);
    loss = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      const double error = static_cast<double>(got[i]) - static_cast<double>(y[i]);
      loss += error * error / static_cast<double>(y.size());
      upstream[i] = static_cast<float>(2 * error / static_cast<double>(y.size()));
    }
  }
  EXPECT_NEAR(loss, golden.f32("loss").at(0), 1e-6);
  for (const std::string name : {"w1", "b1", "w2", "b2"}) {
    const auto want = golden.f32("grad." + name);
    EXPECT_LE(max_difference(runner.get("grad." + name), want), 2e-6 * max_abs(want)) << name;
  }
  EXPECT_LE(max_difference(runner.get(dx), golden.f32("grad.x")), 2e-6 * max_abs(golden.f32("grad.x")));
}

TEST(QatParity, Int8PerChannel) { check("int8_per_channel.safetensors", 8, 0); }
TEST(QatParity, Int4ByGroup) { check("int4_group32.safetensors", 4, 32); }

}  // namespace
}  // namespace plimsoll
