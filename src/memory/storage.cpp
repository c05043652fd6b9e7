#include "memory/storage.h"

#include <algorithm>

#include "base/bytes.h"
#include "ops/op_def.h"

namespace plimsoll {
namespace {

std::vector<int32_t> last_uses(const Graph& graph) {
  std::vector<int32_t> last(graph.values.size(), -1);
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    for (const ValueId id : graph.ops[i].operands)
      if (id != kNoValue) last[static_cast<size_t>(id)] = static_cast<int32_t>(i);
    for (const ValueId id : graph.ops[i].results) last[static_cast<size_t>(id)] = static_cast<int32_t>(i);
  }
  for (const ValueId id : graph.outputs)
    last[static_cast<size_t>(id)] = static_cast<int32_t>(graph.ops.size());  // past every op
  return last;
}

// The storage that result `index` of `op` takes over; -1: it needs its own.
int32_t taken_over(const Graph& graph, const Op& op, int32_t op_index, int index, const std::vector<int32_t>& last,
                   const StorageMap& map, const std::vector<int32_t>& taken_here) {
  const OpDef& def = op_def(op.kind);
  if (def.reuse == nullptr) return -1;
  const Value& result = graph.value(op.results[static_cast<size_t>(index)]);
  for (const int candidate : def.reuse(op, index)) {
    if (candidate < 0) continue;
    const ValueId id = op.operands[static_cast<size_t>(candidate)];
    if (id == kNoValue || graph.value(id).kind != ValueKind::activation) continue;
    const int32_t storage = map.storage_of[static_cast<size_t>(id)];
    const bool dies_here = last[static_cast<size_t>(id)] == op_index;
    const bool read_once = std::count(op.operands.begin(), op.operands.end(), id) == 1;
    const bool taken = std::find(taken_here.begin(), taken_here.end(), storage) != taken_here.end();
    if (storage >= 0 && dies_here && read_once && !taken && graph.value(id).bytes() == result.bytes()) return storage;
  }
  return -1;
}

}  // namespace

StorageMap assign_storage(const Graph& graph) {
  const std::vector<int32_t> last = last_uses(graph);
  const auto end = static_cast<int32_t>(graph.ops.size());
  const auto clamp = [&](int32_t op) { return std::min(op, std::max(0, end - 1)); };
  // What a disk reads from or writes to begins and ends with its pieces.
  std::vector<bool> to_disk(graph.values.size(), false);
  for (const Op& op : graph.ops)
    if (op.kind == OpKind::offload_tensor) to_disk[static_cast<size_t>(op.operands[0])] = true;
  StorageMap map;
  map.storage_of.assign(graph.values.size(), -1);
  const auto add = [&](ValueId id, int32_t first) {
    const bool direct = is_read_from_disk(graph.value(id).kind) || to_disk[static_cast<size_t>(id)];
    const int64_t bytes = direct ? round_up(graph.value(id).bytes(), kDiskAlignment) : graph.value(id).bytes();
    if (bytes == 0) return;
    map.storage_of[static_cast<size_t>(id)] = static_cast<int32_t>(map.storages.size());
    map.storages.push_back(
        {id, bytes, first, std::max(first, clamp(last[static_cast<size_t>(id)])), direct ? kDiskAlignment : 64});
  };
  for (size_t i = 0; i < graph.values.size(); ++i)
    if (graph.values[i].kind == ValueKind::input && last[i] >= 0) add(static_cast<ValueId>(i), 0);
  for (int32_t i = 0; i < end; ++i) {
    const Op& op = graph.ops[static_cast<size_t>(i)];
    std::vector<int32_t> taken_here;
    for (size_t r = 0; r < op.results.size(); ++r) {
      const ValueId id = op.results[r];
      const int32_t storage = taken_over(graph, op, i, static_cast<int>(r), last, map, taken_here);
      if (storage < 0) {
        add(id, i);
        continue;
      }
      taken_here.push_back(storage);
      map.storage_of[static_cast<size_t>(id)] = storage;
      Storage& shared = map.storages[static_cast<size_t>(storage)];
      shared.last = std::max(shared.last, clamp(last[static_cast<size_t>(id)]));
      if (!to_disk[static_cast<size_t>(id)]) continue;
      shared.alignment = kDiskAlignment;
      shared.bytes = round_up(shared.bytes, kDiskAlignment);
    }
  }
  return map;
}

}  // namespace plimsoll
