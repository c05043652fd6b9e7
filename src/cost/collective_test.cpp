#include "cost/collective.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll {
namespace {

const Fabric kFabric = {.link = 100e9, .network = 10e9, .hop_seconds = 1e-6, .node_devices = 8};

TEST(Collective, RingMovesNMinusOneOfNParts) {
  const double bytes = 8e9;
  EXPECT_NEAR(collective_seconds(kFabric, Collective::all_gather, bytes, 8, 8), 7.0 / 8 * bytes / 100e9 + 7e-6, 1e-12);
  EXPECT_NEAR(collective_seconds(kFabric, Collective::all_reduce, bytes, 8, 8), 2 * 7.0 / 8 * bytes / 100e9 + 14e-6,
              1e-12);
  EXPECT_EQ(collective_seconds(kFabric, Collective::all_reduce, bytes, 1, 1), 0);
}

TEST(Collective, SmallBuffersTakeTheTree) {
  // 64 ranks: 126 steps of a ring against 12 of a tree.
  EXPECT_NEAR(collective_seconds({.link = 100e9, .network = 0, .hop_seconds = 1e-6, .node_devices = 64},
                                 Collective::all_reduce, 1e3, 64, 64),
              12e-6 + 2e3 / 100e9, 1e-12);
}

TEST(Collective, AcrossNodesEachRankCarriesItsShare) {
  const double bytes = 8e9;
  const double inner = 7.0 / 8 * bytes / 100e9 + 7e-6;
  const double outer = 1.0 / 2 * (bytes / 8) / 10e9 + 1e-6;
  EXPECT_NEAR(collective_seconds(kFabric, Collective::all_gather, bytes, 16, 8), inner + outer, 1e-12);
  // One rank a node: all of it goes over the network.
  EXPECT_NEAR(collective_seconds(kFabric, Collective::all_gather, bytes, 2, 1), 0.5 * bytes / 10e9 + 1e-6, 1e-12);
}

TEST(Collective, GroupsOfAStrideShareNodesLess) {
  EXPECT_EQ(ranks_in_node(kFabric, 16, 1), 8);
  EXPECT_EQ(ranks_in_node(kFabric, 16, 8), 1);
  EXPECT_EQ(ranks_in_node(kFabric, 12, 1), 6);
  EXPECT_EQ(ranks_in_node(kFabric, 3, 4), 1);
}

TEST(Collective, AnUnknownNetworkIsRefused) {
  const Fabric alone = {.link = 100e9, .network = 0, .hop_seconds = 1e-6, .node_devices = 8};
  EXPECT_THROW(collective_seconds(alone, Collective::all_reduce, 1e6, 16, 8), Error);
}

}  // namespace
}  // namespace plimsoll
