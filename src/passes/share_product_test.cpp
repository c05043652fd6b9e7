#include "passes/share_product.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "arch/architecture.h"
#include "ops/op_def.h"
#include "passes/autodiff.h"
#include "passes/recompute.h"
#include "support/tiny_config.h"

namespace plimsoll {
namespace {

Graph step_of(int64_t recompute_layers) {
  ForwardRequest request;
  request.length = request.ce_chunk_rows = 16;
  const ModelConfig config = tiny_llama();
  Graph graph = build_forward(config, request).graph;
  std::vector<ValueId> trained;
  for (size_t i = 0; i < graph.values.size(); ++i)
    if (graph.values[i].kind == ValueKind::parameter) trained.push_back(static_cast<ValueId>(i));
  autodiff(graph, trained);
  recompute(graph, recompute_layers);
  share_products(graph);
  return graph;
}

int count(const Graph& graph, OpKind kind) {
  return static_cast<int>(std::ranges::count_if(graph.ops, [&](const Op& op) { return op.kind == kind; }));
}

TEST(ShareProduct, NoProductIsMadeTwice) {
  for (const int64_t layers : {0, 1, 2}) {
    const Graph step = step_of(layers);
    verify(step);
    EXPECT_EQ(count(step, OpKind::gated_activation), 2) << "the forward ones only";
    for (const Op& op : step.ops) EXPECT_TRUE(op.kind != OpKind::gated_activation_grad || op.results.size() == 3);
  }
}

TEST(ShareProduct, AProductThatAnotherOpNeedsEarlierStays) {
  Graph graph;
  const ValueId gate = add_value(graph, {"gate", DType::f32, {4, 8}, ValueKind::input});
  const ValueId up = add_value(graph, {"up", DType::f32, {4, 8}, ValueKind::input});
  const ValueId product =
      add_op(graph, {OpKind::gated_activation, {gate, up}, GatedActivationAttrs{}, "again", OpRole::recompute})[0];
  const ValueId dout = add_op(graph, {OpKind::add, {product, gate}, {}, "dout", OpRole::backward})[0];
  const auto grads = add_op(
      graph, {OpKind::gated_activation_grad, {dout, gate, up}, GatedActivationAttrs{}, "grad", OpRole::backward});
  graph.outputs = {grads[0], grads[1]};
  share_products(graph);
  verify(graph);
  EXPECT_EQ(count(graph, OpKind::gated_activation), 1);
  EXPECT_EQ(graph.ops.back().results.size(), 2U);
}

}  // namespace
}  // namespace plimsoll
