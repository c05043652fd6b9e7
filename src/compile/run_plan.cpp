#include "compile/run_plan.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/error.h"
#include "memory/offset_allocator.h"
#include "memory/plan_validator.h"
#include "memory/storage.h"

namespace plimsoll {
namespace {

Category category_of(ValueKind kind) {
  switch (kind) {
    case ValueKind::constant:
    case ValueKind::parameter:
    case ValueKind::streamed:
      return Category::parameters;
    case ValueKind::adapter:
      return Category::adapters;
    case ValueKind::master_weights:
      return Category::master_weights;
    case ValueKind::gradient:
    case ValueKind::step_gradient:
      return Category::gradients;
    case ValueKind::optimizer_state:
      return Category::optimizer_state;
    case ValueKind::io_staging:
      return Category::io_staging;
    case ValueKind::input:
    case ValueKind::cache:
    case ValueKind::activation:
    case ValueKind::fetched:
      return Category::activations;
  }
  return Category::activations;
}

struct Persistent {
  std::string name;
  DType dtype;
  Shape shape;
  ValueKind kind;
};

// Persistent values of all phases, each once, in the order in which they are first mentioned.
std::vector<Persistent> collect_persistent(const std::vector<Graph>& phases) {
  std::vector<Persistent> found;
  std::unordered_map<std::string, size_t> index;
  for (const Graph& graph : phases) {
    for (const Value& value : graph.values) {
      if (!is_persistent(value.kind)) continue;
      const auto [place, is_new] = index.emplace(value.name, found.size());
      if (is_new) {
        found.push_back({value.name, value.dtype, value.shape, value.kind});
        continue;
      }
      const Persistent& known = found[place->second];
      PLIMSOLL_CHECK(known.dtype == value.dtype && known.shape == value.shape && known.kind == value.kind,
                     value.name + " is declared differently by phase " + graph.phase);
    }
  }
  return found;
}

void place_persistent(RunPlan& plan, const std::vector<Graph>& phases) {
  for (const Persistent& value : collect_persistent(phases)) {
    const int64_t bytes = round_up(tensor_bytes(value.dtype, value.shape), kArenaAlignment);
    plan.persistent_offset[value.name] = plan.persistent_bytes;
    plan.persistent.push_back({value.name, category_of(value.kind), bytes, plan.persistent_bytes, 0, 0});
    plan.persistent_bytes += bytes;
  }
  // What comes behind lies as the disk wants it, counted from the arena's begin.
  for (const Graph& graph : phases)
    for (const Value& value : graph.values)
      if (is_read_from_disk(value.kind)) {
        const int64_t aligned = round_up(plan.persistent_bytes, kDiskAlignment);
        if (aligned > plan.persistent_bytes)
          plan.persistent.push_back({"alignment of direct reads", Category::io_staging, aligned - plan.persistent_bytes,
                                     plan.persistent_bytes, 0, 0});
        plan.persistent_bytes = aligned;
        return;
      }
}

// Buffers of one phase before they have a place: storages of values, then workspaces of ops.
struct PhaseBuffers {
  StorageMap map;
  std::vector<Buffer> buffers;
  std::vector<int32_t> workspace_of_op;  // index into buffers; -1: none
};

PhaseBuffers collect_buffers(ExecutionPlan& phase, const WorkspaceBytes& workspace_bytes) {
  PhaseBuffers result;
  result.map = assign_storage(phase.graph);
  for (const Storage& storage : result.map.storages) {
    const Value& value = phase.graph.value(storage.first_value);
    result.buffers.push_back({storage.bytes, storage.alignment, storage.first, storage.last, {}});
    phase.buffers.push_back({value.name, category_of(value.kind), round_up(storage.bytes, kArenaAlignment), 0,
                             storage.first, storage.last});
  }
  result.workspace_of_op.assign(phase.graph.ops.size(), -1);
  phase.workspace_bytes.assign(phase.graph.ops.size(), 0);
  for (size_t i = 0; i < phase.graph.ops.size(); ++i) {
    const int64_t bytes = workspace_bytes(phase.graph, phase.graph.ops[i]);
    if (bytes == 0) continue;
    const auto op = static_cast<int32_t>(i);
    result.workspace_of_op[i] = static_cast<int32_t>(result.buffers.size());
    phase.workspace_bytes[i] = bytes;
    result.buffers.push_back({bytes, kArenaAlignment, op, op, {}});
    phase.buffers.push_back(
        {phase.graph.ops[i].name + ":workspace", Category::workspace, round_up(bytes, kArenaAlignment), 0, op, op});
  }
  return result;
}

void validate(const std::string& phase, const std::vector<Buffer>& buffers, const Packing& packing) {
  const std::vector<std::string> violations = validate_packing(buffers, packing);
  PLIMSOLL_CHECK(violations.empty(), "phase " + phase + ": " + violations.front());
}

void describe_peak(ExecutionPlan& phase, const std::vector<Buffer>& buffers, const RunPlan& plan) {
  const LivePeak peak = find_live_peak(buffers);
  phase.peak_op = buffers.empty() ? -1 : peak.time;
  for (const PlannedBuffer& buffer : plan.persistent) phase.at_peak[buffer.category] += buffer.size_bytes;
  for (const int32_t i : buffers_live_at(buffers, peak.time)) {
    const PlannedBuffer& buffer = phase.buffers[static_cast<size_t>(i)];
    phase.at_peak[buffer.category] += buffer.size_bytes;
  }
}

ExecutionPlan plan_phase(Graph graph, const RunPlan& plan, const WorkspaceBytes& workspace_bytes) {
  ExecutionPlan phase;
  phase.graph = std::move(graph);
  PhaseBuffers collected = collect_buffers(phase, workspace_bytes);
  const Packing packing = pack_buffers(collected.buffers);
  validate(phase.name(), collected.buffers, packing);

  for (size_t i = 0; i < phase.buffers.size(); ++i)
    phase.buffers[i].offset = plan.persistent_bytes + packing.offsets[i];
  phase.value_offset.assign(phase.graph.values.size(), -1);
  for (size_t i = 0; i < phase.graph.values.size(); ++i) {
    const Value& value = phase.graph.values[i];
    if (is_persistent(value.kind)) phase.value_offset[i] = plan.persistent_offset.at(value.name);
    else if (const int32_t storage = collected.map.storage_of[i]; storage >= 0)
      phase.value_offset[i] = phase.buffers[static_cast<size_t>(storage)].offset;
  }
  phase.workspace_offset.assign(phase.graph.ops.size(), -1);
  for (size_t i = 0; i < phase.graph.ops.size(); ++i)
    if (const int32_t buffer = collected.workspace_of_op[i]; buffer >= 0)
      phase.workspace_offset[i] = phase.buffers[static_cast<size_t>(buffer)].offset;
  phase.arena_bytes = plan.persistent_bytes + packing.arena_bytes;
  phase.lower_bound_bytes = plan.persistent_bytes + packing.lower_bound_bytes;
  describe_peak(phase, collected.buffers, plan);
  return phase;
}

}  // namespace

const ExecutionPlan* RunPlan::find_phase(std::string_view name) const {
  for (const ExecutionPlan& phase : phases)
    if (phase.name() == name) return &phase;
  return nullptr;
}

const ExecutionPlan& RunPlan::phase(std::string_view name) const {
  const ExecutionPlan* found = find_phase(name);
  PLIMSOLL_CHECK(found != nullptr, "the run has no phase " + std::string(name));
  return *found;
}

const ExecutionPlan& RunPlan::peak_phase() const {
  PLIMSOLL_CHECK(!phases.empty(), "the run has no phase");
  return *std::max_element(phases.begin(), phases.end(), [](const ExecutionPlan& a, const ExecutionPlan& b) {
    return a.arena_bytes < b.arena_bytes;
  });
}

RunPlan plan_memory(std::vector<Graph> phases, const WorkspaceBytes& workspace_bytes) {
  RunPlan plan;
  place_persistent(plan, phases);
  for (Graph& graph : phases) {
    plan.phases.push_back(plan_phase(std::move(graph), plan, workspace_bytes));
    plan.arena_bytes = std::max(plan.arena_bytes, plan.phases.back().arena_bytes);
    plan.lower_bound_bytes = std::max(plan.lower_bound_bytes, plan.phases.back().lower_bound_bytes);
  }
  return plan;
}

}  // namespace plimsoll
