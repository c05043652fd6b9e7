#include "passes/lora.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "ops/op_def.h"
#include "passes/rewrite.h"

namespace plimsoll {
namespace {

constexpr std::string_view kWeightSuffix = ".weight";
constexpr std::string_view kASuffix = ".lora_A.weight";

// The module path of a linear over a model parameter; empty for any other op, and for the head.
std::string module_path(const Graph& graph, const Op& op) {
  if (op.kind != OpKind::linear || !op.attributes<LinearAttrs>().adaptable) return {};
  if (std::find(graph.outputs.begin(), graph.outputs.end(), op.results[0]) != graph.outputs.end()) return {};
  const Value& weight = graph.value(op.operands[1]);
  if (weight.kind != ValueKind::parameter || !weight.name.ends_with(kWeightSuffix)) return {};
  return weight.name.substr(0, weight.name.size() - kWeightSuffix.size());
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('.') + 1); }

std::vector<std::string> split_names(const std::string& text) {
  std::vector<std::string> names;
  std::string name;
  for (const char c : text + ",") {
    if (c != ',') {
      if (c != ' ') name += c;
      continue;
    }
    if (!name.empty()) names.push_back(name);
    name.clear();
  }
  return names;
}

// Values of an adapter, and y with it.
struct Adapted {
  ValueId a = kNoValue, b = kNoValue, y = kNoValue;
};

// Appends `op`, a linear, and the two products of its adapter.
Adapted adapt(Graph& graph, const Op& op, const LoraModule& module) {
  graph.ops.push_back(op);
  const DType dtype = graph.value(op.operands[1]).dtype;
  const int64_t inputs = graph.value(op.operands[0]).shape[1];
  const int64_t outputs = graph.value(op.results[0]).shape[1];
  Adapted adapted;
  adapted.a = add_value(graph, {lora_a_name(module.path), dtype, {module.rank, inputs}, ValueKind::adapter});
  adapted.b = add_value(graph, {lora_b_name(module.path), dtype, {outputs, module.rank}, ValueKind::adapter});
  const ValueId reduced = add_op(
      graph, {OpKind::linear, {op.operands[0], adapted.a}, LinearAttrs{}, op.name + ".lora_A", op.role, op.layer})[0];
  LinearAttrs attrs;
  attrs.alpha = module.scale;
  attrs.has_addend = true;
  adapted.y = add_op(
      graph, {OpKind::linear, {reduced, adapted.b, op.results[0]}, attrs, op.name + ".lora_B", op.role, op.layer})[0];
  return adapted;
}

// The linear without its bias and its adapter are scaled together; then comes the bias.
ValueId adapt_with_dora(Graph& graph, Op op, const LoraModule& module, std::vector<DoraNorm>* frozen) {
  auto& linear = std::get<LinearAttrs>(op.attrs);
  PLIMSOLL_CHECK(!linear.has_addend, op.name + ": an addend would be scaled too");
  ScaleColumnsAttrs scale;
  scale.has_bias = linear.has_bias;
  const ValueId bias = linear.has_bias ? op.operands[2] : kNoValue;
  op.operands.resize(2);
  linear.has_bias = false;
  const Adapted adapted = adapt(graph, op, module);
  const int64_t outputs = graph.value(adapted.y).shape[1];
  const ValueId magnitude =
      add_value(graph, {dora_magnitude_name(module.path), DType::f32, {outputs}, ValueKind::adapter});
  const DoraNormAttrs attrs{module.scale, linear.transpose_weight};
  ValueId norm = kNoValue;
  if (frozen != nullptr) {
    Value value{"norm." + module.path, DType::f32, {outputs}, ValueKind::constant};
    const bool first_graph = std::ranges::none_of(*frozen, [&](const DoraNorm& n) { return n.norm == value.name; });
    if (first_graph)
      frozen->push_back(
          {graph.value(op.operands[1]).name, lora_a_name(module.path), lora_b_name(module.path), value.name, attrs});
    norm = add_value(graph, std::move(value));
  } else {
    norm = add_op(graph, {OpKind::dora_norm,
                          {op.operands[1], adapted.a, adapted.b},
                          attrs,
                          op.name + ".dora_norm",
                          op.role,
                          op.layer})[0];
  }
  std::vector<ValueId> operands = {adapted.y, magnitude, norm};
  if (scale.has_bias) operands.push_back(bias);
  return add_op(graph, {OpKind::scale_columns, operands, scale, op.name + ".dora", op.role, op.layer})[0];
}

}  // namespace

std::string lora_a_name(const std::string& path) { return "base_model.model." + path + ".lora_A.weight"; }
std::string lora_b_name(const std::string& path) { return "base_model.model." + path + ".lora_B.weight"; }

std::string dora_magnitude_name(const std::string& path) {
  return "base_model.model." + path + ".lora_magnitude_vector";
}

float lora_scale(double alpha, int64_t rank, bool rslora) {
  const auto r = static_cast<double>(rank);
  return static_cast<float>(alpha / (rslora ? std::sqrt(r) : r));
}

std::vector<LoraModule> select_lora_modules(const Graph& graph, const std::string& targets, int64_t rank, float scale) {
  const bool all = targets == "all-linear";
  const std::vector<std::string> names = all ? std::vector<std::string>{} : split_names(targets);
  std::set<std::string> unmatched(names.begin(), names.end());
  std::set<std::string> available;
  std::vector<LoraModule> modules;
  for (const Op& op : graph.ops) {
    const std::string path = module_path(graph, op);
    if (path.empty()) continue;
    available.insert(last_part(path));
    bool selected = all;
    for (const std::string& name : names) {
      if (path != name && !path.ends_with("." + name)) continue;
      selected = true;
      unmatched.erase(name);
    }
    if (selected) modules.push_back({path, rank, scale, !op.attributes<LinearAttrs>().transpose_weight});
  }
  if (!unmatched.empty() || modules.empty()) {
    std::string known;
    for (const std::string& name : available) known += (known.empty() ? "" : ", ") + name;
    const std::string missing = unmatched.empty() ? targets : *unmatched.begin();
    throw caller_error("--targets", "'" + missing + "' is no linear layer of this model that adapters go on",
                       "use all-linear, or some of: " + known);
  }
  return modules;
}

void apply_lora(Graph& graph, const std::vector<LoraModule>& modules, std::vector<DoraNorm>* frozen) {
  std::unordered_map<std::string, const LoraModule*> by_path;
  for (const LoraModule& module : modules) by_path[module.path] = &module;
  const std::vector<Op> original = std::move(graph.ops);
  graph.ops.clear();
  std::unordered_map<ValueId, ValueId> replaced;  // y of a target linear → y with its adapter
  for (const Op& source : original) {
    Op op = source;
    for (ValueId& id : op.operands)
      if (const auto found = replaced.find(id); found != replaced.end()) id = found->second;
    const auto found = by_path.find(module_path(graph, op));
    if (found == by_path.end()) {
      graph.ops.push_back(op);
      continue;
    }
    const LoraModule& module = *found->second;
    replaced[op.results[0]] = module.dora ? adapt_with_dora(graph, op, module, frozen) : adapt(graph, op, module).y;
    by_path.erase(found);
  }
  set_ops(graph, std::move(graph.ops));
  if (!by_path.empty())
    throw caller_error(
        "the adapter", "adapts " + by_path.begin()->first + ", which is no linear layer that adapters go on",
        "check that the adapter belongs to this model; of models with experts only attention is adapted");
}

void add_lora_dropout(Graph& graph, double p) {
  if (p == 0) return;
  const std::vector<Op> original = std::move(graph.ops);
  graph.ops.clear();
  uint64_t stream = 0;
  for (const Op& source : original) {
    Op op = source;
    const bool reads_a = op.kind == OpKind::linear && graph.value(op.operands[1]).kind == ValueKind::adapter &&
                         graph.value(op.operands[1]).name.ends_with(kASuffix);
    if (reads_a)
      op.operands[0] = add_op(
          graph,
          {OpKind::dropout, {op.operands[0]}, DropoutAttrs{p, stream++}, op.name + ".dropout", op.role, op.layer})[0];
    graph.ops.push_back(std::move(op));
  }
  set_ops(graph, std::move(graph.ops));
}

}  // namespace plimsoll
