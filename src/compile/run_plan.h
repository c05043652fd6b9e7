// Where every byte of a run lies. One arena serves all phases: persistent buffers at its bottom, at one place for the
// whole run, and above them each phase's own buffers. The executor takes every address from here.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "compile/category.h"
#include "ir/graph.h"

namespace plimsoll {

inline constexpr int64_t kArenaAlignment = 64;  // bytes; a cache line, and the widest vector

struct PlannedBuffer {
  std::string name;
  Category category = Category::activations;
  int64_t size_bytes = 0;       // rounded up to kArenaAlignment
  int64_t offset = 0;           // from the start of the arena
  int32_t first = 0, last = 0;  // ops of the phase, inclusive; persistent buffers: all of them
};

struct ExecutionPlan {
  Graph graph;
  std::vector<int64_t> value_offset;      // by ValueId, from the start of the arena; -1: no bytes
  std::vector<int64_t> workspace_offset;  // by op; -1: none
  std::vector<int64_t> workspace_bytes;   // by op
  std::vector<PlannedBuffer> buffers;     // of this phase alone
  int64_t arena_bytes = 0;                // persistent included
  int64_t lower_bound_bytes = 0;          // persistent included: no packing of this phase can be smaller
  int32_t peak_op = -1;
  CategoryBytes at_peak{};  // live bytes at peak_op by category; sums to lower_bound_bytes

  const std::string& name() const { return graph.phase; }
};

struct RunPlan {
  std::vector<PlannedBuffer> persistent;
  std::unordered_map<std::string, int64_t> persistent_offset;
  int64_t persistent_bytes = 0;
  std::vector<ExecutionPlan> phases;
  int64_t arena_bytes = 0;  // the largest phase
  int64_t lower_bound_bytes = 0;

  const ExecutionPlan& phase(std::string_view name) const;  // internal Error when absent
  const ExecutionPlan* find_phase(std::string_view name) const;
  const ExecutionPlan& peak_phase() const;
};

// Bytes of scratch that the backend's kernel for `op` needs, exactly.
using WorkspaceBytes = std::function<int64_t(const Graph& graph, const Op& op)>;

// Plans the phases over one arena and checks the result with the independent validator (internal Error on a violation).
// Persistent values are matched by name; the same name with another shape or type is an internal Error.
RunPlan plan_memory(std::vector<Graph> phases, const WorkspaceBytes& workspace_bytes);

}  // namespace plimsoll
