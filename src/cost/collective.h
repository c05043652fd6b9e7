// Seconds of collectives: rings, trees, and rings of rings where the ranks fill more than one node.
//
// A ring of n ranks moves (n-1)/n of the bytes in n-1 steps, an all-reduce twice that; a tree takes 2·log2(n) steps and
// moves the bytes twice (Thakur et al. 2005; NCCL's two algorithms). The quicker one is taken. Across nodes a
// collective is split: within each node first, then between the nodes with the share that each rank then holds.
#pragma once

#include <cstdint>

#include "cost/device_catalog.h"
#include "cost/time_constants.h"

namespace plimsoll {

enum class Collective { all_reduce, all_gather, reduce_scatter, all_to_all, send };

struct Fabric {
  double link = 0, network = 0;  // bytes per second that a rank's collectives reach, of one direction
  double start_seconds = 0;      // of a collective
  double hop_seconds = 0;
  int64_t node_devices = 1;
};

// Devices without links of their own talk through the host's. `network` 0 where unknown.
Fabric fabric_of(const Device& device, const TimeConstants& constants);

// `bytes` is the whole buffer (what every rank holds after an all-gather). `ranks` of them, of which `ranks_in_node`
// share a node (they divide `ranks`). Throws a caller Error where the network is unknown and needed.
double collective_seconds(const Fabric& fabric, Collective kind, double bytes, int64_t ranks, int64_t ranks_in_node);

// How many of a group's ranks share a node, when neighbours of the group are `stride` devices apart.
int64_t ranks_in_node(const Fabric& fabric, int64_t ranks, int64_t stride);

}  // namespace plimsoll
