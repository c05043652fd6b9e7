// Which values share bytes: alias analysis on graphs written by hand.
#include "memory/storage.h"

#include <gtest/gtest.h>

#include "ops/op_def.h"

namespace plimsoll {
namespace {

ValueId input(Graph& graph, const char* name, Shape shape = {4, 8}) {
  return add_value(graph, {name, DType::f32, std::move(shape), ValueKind::input});
}
ValueId add(Graph& graph, ValueId a, ValueId b, const char* name) {
  return add_op(graph, {OpKind::add, {a, b}, {}, name})[0];
}
ValueId scaled_linear(Graph& graph, ValueId x, ValueId addend) {
  const ValueId weight = add_value(graph, {"weight", DType::f32, {8, 8}, ValueKind::parameter});
  LinearAttrs attrs;
  attrs.has_addend = true;
  return add_op(graph, {OpKind::linear, {x, weight, addend}, attrs, "linear"})[0];
}
int32_t storage(const StorageMap& map, ValueId id) { return map.storage_of[static_cast<size_t>(id)]; }

TEST(Storage, ADyingOperandIsTakenOver) {
  Graph graph;
  const ValueId a = input(graph, "a"), b = input(graph, "b");
  const ValueId sum = add(graph, a, b, "sum"), next = add(graph, sum, b, "next");
  graph.outputs = {next};
  const StorageMap map = assign_storage(graph);
  EXPECT_EQ(storage(map, next), storage(map, sum));
  // The host writes inputs again for every run; they are never written over.
  EXPECT_NE(storage(map, sum), storage(map, a));
  EXPECT_NE(storage(map, sum), storage(map, b));
  EXPECT_EQ(map.storages.size(), 3U);
  EXPECT_EQ(map.storages[static_cast<size_t>(storage(map, next))].bytes, 4 * 8 * 4);
}

TEST(Storage, ALivingOperandIsNot) {
  Graph graph;
  const ValueId a = input(graph, "a"), b = input(graph, "b");
  const ValueId sum = add(graph, a, b, "sum"), next = add(graph, sum, b, "next"), last = add(graph, next, sum, "last");
  graph.outputs = {last};
  const StorageMap map = assign_storage(graph);
  EXPECT_NE(storage(map, next), storage(map, sum));
  // Both die at the last op; it takes the first that it may.
  EXPECT_EQ(storage(map, last), storage(map, next));
}

TEST(Storage, AnOutputIsNot) {
  Graph graph;
  const ValueId a = input(graph, "a"), b = input(graph, "b");
  const ValueId sum = add(graph, a, b, "sum"), next = add(graph, sum, b, "next");
  graph.outputs = {sum, next};
  EXPECT_NE(storage(assign_storage(graph), next), storage(assign_storage(graph), sum));
}

TEST(Storage, AnOperandReadTwiceIsNot) {
  Graph graph;
  const ValueId a = input(graph, "a"), b = input(graph, "b");
  const ValueId sum = add(graph, a, b, "sum"), doubled = add(graph, sum, sum, "doubled");
  graph.outputs = {doubled};
  const StorageMap map = assign_storage(graph);
  EXPECT_NE(storage(map, doubled), storage(map, sum));
}

TEST(Storage, OnlyTheOperandThatTheOpAllows) {
  Graph graph;
  const ValueId a = input(graph, "a"), b = input(graph, "b");
  const ValueId x = add(graph, a, b, "x"), addend = add(graph, a, b, "addend");
  const ValueId y = scaled_linear(graph, x, addend);
  graph.outputs = {y};
  const StorageMap map = assign_storage(graph);
  EXPECT_EQ(storage(map, y), storage(map, addend));
  EXPECT_NE(storage(map, y), storage(map, x));  // a product cannot be written over what it reads
}

TEST(Storage, TwoResultsNeverShare) {
  Graph graph;
  const ValueId a = input(graph, "a"), b = input(graph, "b");
  const ValueId gate = add(graph, a, b, "gate"), up = add(graph, a, b, "up"), upstream = add(graph, a, b, "upstream");
  const auto grads =
      add_op(graph, {OpKind::gated_activation_grad, {upstream, gate, up}, GatedActivationAttrs{}, "grad"});
  graph.outputs = grads;
  const StorageMap map = assign_storage(graph);
  EXPECT_EQ(storage(map, grads[0]), storage(map, gate));
  EXPECT_EQ(storage(map, grads[1]), storage(map, up));
}

TEST(Storage, ValuesThatShareStayApartWhenOneIsBothOperands) {
  Graph graph;
  const ValueId a = input(graph, "a"), b = input(graph, "b");
  const ValueId both = add(graph, a, b, "both"), upstream = add(graph, a, b, "upstream");
  const auto grads =
      add_op(graph, {OpKind::gated_activation_grad, {upstream, both, both}, GatedActivationAttrs{}, "grad"});
  graph.outputs = grads;
  const StorageMap map = assign_storage(graph);
  EXPECT_NE(storage(map, grads[0]), storage(map, grads[1]));
  EXPECT_NE(storage(map, grads[0]), storage(map, both));
}

TEST(Storage, LiveRanges) {
  Graph graph;
  const ValueId a = input(graph, "a"), unread = input(graph, "unread"), b = input(graph, "b");
  const ValueId weight = add_value(graph, {"weight", DType::f32, {8, 8}, ValueKind::parameter});
  const ValueId x = add_op(graph, {OpKind::linear, {a, weight}, LinearAttrs{}, "x"})[0];        // op 0
  const ValueId y = add_op(graph, {OpKind::linear, {x, weight}, LinearAttrs{}, "y"})[0];        // op 1
  const ValueId z = add(graph, y, b, "z");                                                      // op 2, in y's place
  const ValueId end = add_op(graph, {OpKind::linear, {z, weight}, LinearAttrs{}, "end"})[0];    // op 3
  const ValueId dead = add_op(graph, {OpKind::linear, {z, weight}, LinearAttrs{}, "dead"})[0];  // op 4, read by nobody
  graph.outputs = {x, end};
  const StorageMap map = assign_storage(graph);
  const auto range = [&](ValueId id) {
    const Storage& s = map.storages.at(static_cast<size_t>(storage(map, id)));
    return std::pair(s.first, s.last);
  };
  EXPECT_EQ(storage(map, weight), -1);
  EXPECT_EQ(storage(map, unread), -1);
  EXPECT_EQ(range(a), std::pair(0, 0));
  EXPECT_EQ(range(b), std::pair(0, 2));  // inputs are there before the first op
  EXPECT_EQ(range(x), std::pair(0, 4));  // outputs to the end
  EXPECT_EQ(storage(map, z), storage(map, y));
  EXPECT_EQ(range(y), std::pair(1, 4));
  EXPECT_EQ(range(end), std::pair(3, 4));
  EXPECT_EQ(range(dead), std::pair(4, 4));
}

TEST(Storage, NothingForNoBytesAndNoOps) {
  Graph graph;
  EXPECT_TRUE(assign_storage(graph).storages.empty());
  TransferAttrs attrs;
  attrs.tensor = "t";
  const ValueId master = add_value(graph, {"t", DType::f32, {4}, ValueKind::master_weights});
  const auto staging = add_op(graph, {OpKind::save_tensor, {master}, attrs, "save"});
  EXPECT_EQ(storage(assign_storage(graph), staging[0]), -1);
}

}  // namespace
}  // namespace plimsoll
