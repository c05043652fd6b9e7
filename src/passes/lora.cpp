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

}  // namespace

std::string lora_a_name(const std::string& path) { return "base_model.model." + path + ".lora_A.weight"; }
std::string lora_b_name(const std::string& path) { return "base_model.model." + path + ".lora_B.weight"; }

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

void apply_lora(Graph& graph, const std::vector<LoraModule>& modules) {
  std::unordered_map<std::string, const LoraModule*> by_path;
  for (const LoraModule& module : modules) by_path[module.path] = &module;
  const std::vector<Op> original = std::move(graph.ops);
  graph.ops.clear();
  std::unordered_map<ValueId, ValueId> replaced;  // y of a target linear → y with its adapter
  for (const Op& source : original) {
    Op op = source;
    for (ValueId& id : op.operands)
      if (const auto found = replaced.find(id); found != replaced.end()) id = found->second;
    graph.ops.push_back(op);
    const auto found = by_path.find(module_path(graph, op));
    if (found == by_path.end()) continue;
    const LoraModule& module = *found->second;
    const DType dtype = graph.value(op.operands[0]).dtype;
    const int64_t inputs = graph.value(op.operands[0]).shape[1];
    const int64_t outputs = graph.value(op.results[0]).shape[1];
    const ValueId a = add_value(graph, {lora_a_name(module.path), dtype, {module.rank, inputs}, ValueKind::adapter});
    const ValueId b = add_value(graph, {lora_b_name(module.path), dtype, {outputs, module.rank}, ValueKind::adapter});
    const ValueId reduced =
        add_op(graph, {OpKind::linear, {op.operands[0], a}, LinearAttrs{}, op.name + ".lora_A", op.role, op.layer})[0];
    LinearAttrs attrs;
    attrs.alpha = module.scale;
    attrs.has_addend = true;
    replaced[op.results[0]] =
        add_op(graph, {OpKind::linear, {reduced, b, op.results[0]}, attrs, op.name + ".lora_B", op.role, op.layer})[0];
    by_path.erase(found);
  }
  set_ops(graph, std::move(graph.ops));
  if (!by_path.empty())
    throw caller_error(
        "the adapter", "adapts " + by_path.begin()->first + ", which is no linear layer that adapters go on",
        "check that the adapter belongs to this model; of models with experts only attention is adapted");
}

}  // namespace plimsoll
