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
constexpr const char* kAllLinear = "all-linear";
constexpr const char* kExperts = "experts";

// The module path of a weight of the model.
std::string module_of(const Value& weight) {
  if (weight.kind != ValueKind::parameter || !weight.name.ends_with(kWeightSuffix)) return {};
  return weight.name.substr(0, weight.name.size() - kWeightSuffix.size());
}

// The module paths of an op that adapters may go on: one of a linear, one for each expert of a mixture's; none of any
// other op, and of the head.
std::vector<std::string> module_paths(const Graph& graph, const Op& op) {
  std::vector<std::string> paths;
  size_t first = 0;
  if (op.kind == OpKind::linear && op.attributes<LinearAttrs>().adaptable) first = 1;
  if (op.kind == OpKind::grouped_linear && op.attributes<GroupedLinearAttrs>().adaptable) first = 2;
  if (first == 0 || std::find(graph.outputs.begin(), graph.outputs.end(), op.results[0]) != graph.outputs.end())
    return paths;
  const size_t last = first == 1 ? 2 : op.operands.size();
  for (size_t i = first; i < last; ++i)
    if (std::string path = module_of(graph.value(op.operands[i])); !path.empty()) paths.push_back(std::move(path));
  return paths;
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('.') + 1); }

std::vector<std::string> split_names(const std::string& text) {
  std::vector<std::string> names;
  std::string name;
  for (const char c : text + ",") {
    if (c != ',') {
      if (c != ' ' && c != '\t') name += c;
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
  const std::vector<std::string> names = split_names(targets);
  std::set<std::string> unmatched(names.begin(), names.end());
  std::set<std::string> available;
  std::set<std::string> experts_chosen, experts_known;  // last parts, and those of the last linear of an expert
  std::vector<LoraModule> modules;
  for (const Op& op : graph.ops) {
    const bool grouped = op.kind == OpKind::grouped_linear;
    for (const std::string& path : module_paths(graph, op)) {
      available.insert(last_part(path));
      if (grouped) available.insert(kExperts);
      bool selected = false;
      for (const std::string& name : names) {
        const bool by_word = name == (grouped ? kExperts : kAllLinear);
        if (!by_word && path != name && !path.ends_with("." + name)) continue;
        selected = true;
        unmatched.erase(name);
      }
      if (grouped) experts_known.insert(last_part(path));
      if (grouped && selected) experts_chosen.insert(last_part(path));
      if (selected) modules.push_back({path, rank, scale, !grouped && !op.attributes<LinearAttrs>().transpose_weight});
    }
  }
  if (!unmatched.empty() || modules.empty()) {
    std::string known;
    for (const std::string& name : available) known += (known.empty() ? "" : ", ") + name;
    const std::string missing = unmatched.empty() ? targets : *unmatched.begin();
    throw caller_error("--targets", "'" + missing + "' is no linear layer of this model that adapters go on",
                       "use all-linear, or some of: " + known);
  }
  // What PEFT makes of them: gate and up are one parameter, and it finds them through the adapter of the third.
  const std::string down = experts_known.contains("w2") ? "w2" : "down_proj";
  if (!experts_chosen.empty() && experts_chosen != experts_known && experts_chosen != std::set<std::string>{down})
    throw caller_error("--targets", "names some linears of the experts, which PEFT would not load by themselves",
                       "name experts (all of them), or of experts only " + down);
  return modules;
}

namespace {

using ModulesByPath = std::unordered_map<std::string, const LoraModule*>;

struct AdapterPair {
  ValueId a, b;
};

AdapterPair add_adapter(Graph& graph, const LoraModule& module, DType dtype, int64_t inputs, int64_t outputs) {
  return {add_value(graph, {lora_a_name(module.path), dtype, {module.rank, inputs}, ValueKind::adapter}),
          add_value(graph, {lora_b_name(module.path), dtype, {outputs, module.rank}, ValueKind::adapter})};
}

// y of a linear with its adapter.
ValueId adapt_linear(Graph& graph, const Op& op, const LoraModule& module) {
  const auto [a, b] = add_adapter(graph, module, graph.value(op.operands[0]).dtype,
                                  graph.value(op.operands[0]).shape[1], graph.value(op.results[0]).shape[1]);
  const ValueId reduced =
      add_op(graph, {OpKind::linear, {op.operands[0], a}, LinearAttrs{}, op.name + ".lora_A", op.role, op.layer})[0];
  LinearAttrs attrs;
  attrs.alpha = module.scale;
  attrs.has_addend = true;
  return add_op(graph, {OpKind::linear, {reduced, b, op.results[0]}, attrs, op.name + ".lora_B", op.role, op.layer})[0];
}

// y of the experts' linears with the adapters of all of them.
ValueId adapt_experts(Graph& graph, const Op& op, const std::vector<const LoraModule*>& modules) {
  const ValueId x = op.operands[0], offsets = op.operands[1];
  const int64_t inputs = graph.value(x).shape[1], outputs = graph.value(op.results[0]).shape[1];
  const LoraModule& first = *modules[0];
  GroupedLinearAttrs attrs;
  attrs.experts = op.attributes<GroupedLinearAttrs>().experts;
  std::vector<ValueId> down = {x, offsets}, up = {kNoValue, offsets, op.results[0]};
  for (const LoraModule* module : modules) {
    if (module->rank != first.rank || module->scale != first.scale)
      throw caller_error("the adapter", "has other ranks or scales for " + module->path + " than for " + first.path,
                         "use an adapter with one rank for all experts");
    const auto [a, b] = add_adapter(graph, *module, graph.value(x).dtype, inputs, outputs);
    down.push_back(a);
    up.push_back(b);
  }
  const ValueId reduced =
      add_op(graph, {OpKind::grouped_linear, std::move(down), attrs, op.name + ".lora_A", op.role, op.layer})[0];
  up[0] =
      add_op(graph, {OpKind::scale, {reduced}, ScaleAttrs{first.scale}, op.name + ".lora_scale", op.role, op.layer})[0];
  attrs.has_addend = true;
  return add_op(graph, {OpKind::grouped_linear, std::move(up), attrs, op.name + ".lora_B", op.role, op.layer})[0];
}

// Takes the modules of `op` out of `by_path`.
std::vector<const LoraModule*> take_modules(const Graph& graph, const Op& op, ModulesByPath& by_path) {
  std::vector<const LoraModule*> taken;
  const std::vector<std::string> paths = module_paths(graph, op);
  for (const std::string& path : paths)
    if (const auto found = by_path.find(path); found != by_path.end()) {
      taken.push_back(found->second);
      by_path.erase(found);
    }
  if (!taken.empty() && taken.size() != paths.size())
    throw caller_error("the adapter", "adapts " + taken[0]->path + ", but not every expert beside it",
                       "use an adapter of all experts");
  return taken;
}

}  // namespace

void apply_lora(Graph& graph, const std::vector<LoraModule>& modules) {
  ModulesByPath by_path;
  for (const LoraModule& module : modules) by_path[module.path] = &module;
  const std::vector<Op> original = std::move(graph.ops);
  graph.ops.clear();
  std::unordered_map<ValueId, ValueId> replaced;  // y of a target linear → y with its adapter
  for (const Op& source : original) {
    Op op = source;
    for (ValueId& id : op.operands)
      if (const auto found = replaced.find(id); found != replaced.end()) id = found->second;
    graph.ops.push_back(op);
    const std::vector<const LoraModule*> found = take_modules(graph, op, by_path);
    if (found.empty()) continue;
    replaced[op.results[0]] =
        op.kind == OpKind::linear ? adapt_linear(graph, op, *found[0]) : adapt_experts(graph, op, found);
  }
  set_ops(graph, std::move(graph.ops));
  if (!by_path.empty())
    throw caller_error("the adapter",
                       "adapts " + by_path.begin()->first + ", which is no linear layer that adapters go on",
                       "check that the adapter belongs to this model");
}

}  // namespace plimsoll
