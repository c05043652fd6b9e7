#include "setup/inference.h"

#include "compile/train_program.h"
#include "config/machine.h"
#include "ops/op_def.h"
#include "passes/widen_half.h"
#include "setup/weight_loader.h"

namespace plimsoll {

Graph build_load_phase(const std::vector<Graph>& phases, int64_t staging_bytes, const std::vector<DoraNorm>& norms) {
  Graph graph;
  graph.phase = phase_names::kLoad;
  std::unordered_map<std::string, bool> seen;
  for (const Graph& phase : phases) {
    for (const Value& value : phase.values) {
      if (!is_persistent(value.kind) || value.kind == ValueKind::constant || !seen.emplace(value.name, true).second)
        continue;
      const std::string name = value.name;
      const ValueId id = add_value(graph, value);
      if (value.kind == ValueKind::parameter || value.kind == ValueKind::adapter) {
        TransferAttrs attrs;
        attrs.tensor = name;
        attrs.staging_bytes = load_staging_of(value, staging_bytes);
        add_op(graph, {OpKind::load_tensor, {id}, attrs, "load." + name, OpRole::transfer});
      } else {
        add_op(graph, {OpKind::fill_zero, {id}, {}, "clear." + name, OpRole::transfer});
      }
    }
  }
  for (const DoraNorm& norm : norms) {
    const ValueId made = add_op(graph, {OpKind::dora_norm,
                                        {graph.find(norm.weight), graph.find(norm.a), graph.find(norm.b)},
                                        norm.attrs,
                                        "make." + norm.norm,
                                        OpRole::transfer})[0];
    const ValueId kept = add_value(graph, {norm.norm, DType::f32, graph.value(made).shape, ValueKind::constant});
    add_op(graph, {OpKind::cast, {made, kept}, {}, "keep." + norm.norm, OpRole::transfer});
  }
  widen_half(graph);
  return graph;
}

RunPlan plan_inference(std::vector<Graph> phases, const TensorIndex& weights, int threads,
                       const std::vector<DoraNorm>& norms) {
  for (const Graph& phase : phases)
    for (const Value& value : phase.values)
      if (value.kind == ValueKind::parameter) find_weight(weights, value.name, value.shape);
  for (Graph& phase : phases) widen_half(phase);
  phases.insert(phases.begin(), build_load_phase(phases, load_staging_bytes(weights), norms));
  for (const Graph& phase : phases) verify(phase);
  return plan_memory(std::move(phases), [threads](const Graph& graph, const Op& op) {
    return cpu_backend().workspace_bytes(graph, op, threads);
  });
}

void load_weights(const RunPlan& plan, const Arena& arena, ThreadPool& pool, const ModelFiles& model,
                  const AdapterSource& adapter) {
  WeightLoader loader(model.tensors, adapter.tensors());
  RunState state;
  state.host = &loader;
  Executor(plan.phase(phase_names::kLoad), arena, cpu_backend(), pool).run(state);
}

int threads_or_all(int64_t threads) { return threads > 0 ? static_cast<int>(threads) : inspect_machine().threads; }

}  // namespace plimsoll
