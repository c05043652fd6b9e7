#include "cost/collective.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr int64_t kUsualNode = 8;  // devices of a server of cards

double ring_or_tree(Collective kind, double bytes, int64_t ranks, double rate, double hop) {
  const auto n = static_cast<double>(ranks);
  const double share = (n - 1) / n;
  if (kind == Collective::send) return hop + bytes / rate;
  if (kind == Collective::all_reduce) {
    const double ring = 2 * (n - 1) * hop + 2 * share * bytes / rate;
    const double tree = 2 * std::ceil(std::log2(n)) * hop + 2 * bytes / rate;
    return std::min(ring, tree);
  }
  return (n - 1) * hop + share * bytes / rate;
}

double moving_seconds(const Fabric& fabric, Collective kind, double bytes, int64_t ranks, int64_t in_node) {
  const int64_t nodes = ranks / in_node;
  if (in_node > 1 && fabric.link <= 0)
    throw caller_error("links between devices", "the catalogue has none for this device",
                       "add link or host_link to a devices.csv of your own and give it with --catalog");
  if (nodes == 1) return ring_or_tree(kind, bytes, ranks, fabric.link, fabric.hop_seconds);
  if (fabric.network <= 0)
    throw caller_error("network between nodes", "the catalogue has none for this device",
                       "add network to a devices.csv of your own and give it with --catalog");
  if (kind == Collective::send) return ring_or_tree(kind, bytes, 2, fabric.network, fabric.hop_seconds);
  if (in_node == 1) return ring_or_tree(kind, bytes, nodes, fabric.network, fabric.hop_seconds);
  const auto part = static_cast<double>(in_node);
  if (kind == Collective::all_to_all) {  // what stays in the node and what leaves it go at the same time
    const double outside = bytes * static_cast<double>(nodes - 1) / static_cast<double>(nodes);
    return static_cast<double>(ranks - 1) * fabric.hop_seconds +
           std::max(outside / fabric.network, (bytes - outside) / fabric.link);
  }
  // Each rank holds bytes / in_node after the part within the node.
  const double inner = ring_or_tree(kind, bytes, in_node, fabric.link, fabric.hop_seconds);
  return inner + ring_or_tree(kind, bytes / part, nodes, fabric.network, fabric.hop_seconds);
}

}  // namespace

Fabric fabric_of(const Device& device, const TimeConstants& constants) {
  Fabric fabric;
  const double link = device.link > 0 ? device.link : device.host_link;
  fabric.link = constants.link_efficiency * link;
  fabric.network = constants.network_efficiency * device.network;
  fabric.start_seconds = constants.collective_seconds;
  fabric.hop_seconds = constants.hop_seconds;
  fabric.node_devices = device.node_devices > 0 ? device.node_devices : kUsualNode;
  return fabric;
}

int64_t ranks_in_node(const Fabric& fabric, int64_t ranks, int64_t stride) {
  int64_t most = std::max<int64_t>(1, std::min(ranks, fabric.node_devices / std::max<int64_t>(1, stride)));
  while (ranks % most != 0) --most;
  return most;
}

double collective_seconds(const Fabric& fabric, Collective kind, double bytes, int64_t ranks, int64_t in_node) {
  if (ranks <= 1 || bytes <= 0) return 0;
  return fabric.start_seconds + moving_seconds(fabric, kind, bytes, ranks, in_node);
}

}  // namespace plimsoll
