#include "passes/lora.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/words.h"
#include "formats/peft.h"
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

struct AdapterPair {
  ValueId a = kNoValue, b = kNoValue;
};

AdapterPair add_adapter(Graph& graph, const LoraModule& module, DType dtype, int64_t inputs, int64_t outputs) {
  return {add_value(graph, {peft_tensor_name(module.path, 'A'), dtype, {module.rank, inputs}, ValueKind::adapter}),
          add_value(graph, {peft_tensor_name(module.path, 'B'), dtype, {outputs, module.rank}, ValueKind::adapter})};
}

// Values of an adapter, and y with it.
struct Adapted {
  ValueId a = kNoValue, b = kNoValue, y = kNoValue;
};

// Appends the two products of an adapter and `op`, the linear that it goes on. What the adapter gives is the addend of
// the linear, not the other way round: the sum is then made in f32 and rounded once. To a y that is bf16 already a
// young adapter, whose share is below half a step of bf16, would add nothing.
Adapted adapt(Graph& graph, const Op& op, const LoraModule& module) {
  // Of the type of x: the weight may be packed.
  const auto [a, b] = add_adapter(graph, module, graph.value(op.operands[0]).dtype,
                                  graph.value(op.operands[0]).shape[1], graph.value(op.results[0]).shape[1]);
  Adapted adapted{a, b, kNoValue};
  const ValueId reduced = add_op(
      graph, {OpKind::linear, {op.operands[0], adapted.a}, LinearAttrs{}, op.name + ".lora_A", op.role, op.layer})[0];
  LinearAttrs attrs;
  attrs.alpha = module.scale;
  const ValueId share =
      add_op(graph, {OpKind::linear, {reduced, adapted.b}, attrs, op.name + ".lora_B", op.role, op.layer})[0];
  Op with_share = op;
  auto& linear = std::get<LinearAttrs>(with_share.attrs);
  PLIMSOLL_CHECK(!linear.has_addend, op.name + ": has an addend already");
  linear.has_addend = true;
  with_share.operands.push_back(share);
  graph.ops.push_back(with_share);
  adapted.y = op.results[0];
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
      add_value(graph, {peft_magnitude_name(module.path), DType::f32, {outputs}, ValueKind::adapter});
  const DoraNormAttrs attrs{module.scale, linear.transpose_weight};
  ValueId norm = kNoValue;
  if (frozen != nullptr) {
    Value value{"norm." + module.path, DType::f32, {outputs}, ValueKind::constant};
    const bool first_graph = std::ranges::none_of(*frozen, [&](const DoraNorm& n) { return n.norm == value.name; });
    if (first_graph)
      frozen->push_back({graph.value(op.operands[1]).name, peft_tensor_name(module.path, 'A'),
                         peft_tensor_name(module.path, 'B'), value.name, attrs});
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

float lora_scale(double alpha, int64_t rank, bool rslora) {
  const auto r = static_cast<double>(rank);
  return static_cast<float>(alpha / (rslora ? std::sqrt(r) : r));
}

std::vector<LoraModule> select_lora_modules(const Graph& graph, const std::string& targets, int64_t rank, float scale) {
  const std::vector<std::string> names = split_list(targets, ',');
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
    const bool has_experts =
        std::ranges::any_of(graph.ops, [](const Op& op) { return op.kind == OpKind::grouped_linear; });
    if (missing == kExperts && has_experts)
      throw caller_error("--targets", "experts of this family cannot have adapters here",
                         "use all-linear, which is the attention; --method full trains the experts");
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

// Appends the adapters of all experts and `op`, their linears, whose addend they give.
void adapt_experts(Graph& graph, const Op& op, const std::vector<const LoraModule*>& modules) {
  const ValueId x = op.operands[0], offsets = op.operands[1];
  const int64_t inputs = graph.value(x).shape[1], outputs = graph.value(op.results[0]).shape[1];
  const LoraModule& first = *modules[0];
  GroupedLinearAttrs attrs;
  attrs.experts = op.attributes<GroupedLinearAttrs>().experts;
  std::vector<ValueId> down = {x, offsets}, up = {kNoValue, offsets};
  for (const LoraModule* module : modules) {
    if (module->dora)
      throw caller_error("--method", "dora has no magnitudes for experts such as " + module->path,
                         "leave experts out of --targets, or give --method lora");
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
  const ValueId share =
      add_op(graph, {OpKind::grouped_linear, std::move(up), attrs, op.name + ".lora_B", op.role, op.layer})[0];
  Op with_share = op;
  auto& linear = std::get<GroupedLinearAttrs>(with_share.attrs);
  PLIMSOLL_CHECK(!linear.has_addend, op.name + ": has an addend already");
  linear.has_addend = true;
  with_share.operands.insert(with_share.operands.begin() + (linear.has_bias ? 3 : 2), share);
  graph.ops.push_back(with_share);
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

void apply_lora(Graph& graph, const std::vector<LoraModule>& modules, std::vector<DoraNorm>* frozen) {
  ModulesByPath by_path;
  for (const LoraModule& module : modules) by_path[module.path] = &module;
  const std::vector<Op> original = std::move(graph.ops);
  graph.ops.clear();
  std::unordered_map<ValueId, ValueId> replaced;  // y of a target linear → y scaled, with DoRA
  for (const Op& source : original) {
    Op op = source;
    for (ValueId& id : op.operands)
      if (const auto found = replaced.find(id); found != replaced.end()) id = found->second;
    const std::vector<const LoraModule*> found = take_modules(graph, op, by_path);
    if (found.empty()) {
      graph.ops.push_back(op);
    } else if (op.kind != OpKind::linear) {
      adapt_experts(graph, op, found);
    } else if (found[0]->dora) {
      replaced[op.results[0]] = adapt_with_dora(graph, op, *found[0], frozen);
    } else {
      adapt(graph, op, *found[0]);
    }
  }
  set_ops(graph, std::move(graph.ops));
  if (!by_path.empty())
    throw caller_error("the adapter",
                       "adapts " + by_path.begin()->first + ", which is no linear layer that adapters go on",
                       "check that the adapter belongs to this model");
}

void add_lora_dropout(Graph& graph, double p) {
  if (p == 0) return;
  const std::vector<Op> original = std::move(graph.ops);
  graph.ops.clear();
  uint64_t stream = 0;
  for (const Op& source : original) {
    Op op = source;
    if (op.kind == OpKind::grouped_linear && std::ranges::any_of(op.operands, [&](ValueId id) {
          return id != kNoValue && graph.value(id).kind == ValueKind::adapter;
        }))
      throw caller_error("--lora-dropout", "has no meaning for adapters of experts: PEFT loads none with it",
                         "give --lora-dropout 0, or leave experts out of --targets");
    const bool reads_a = op.kind == OpKind::linear && graph.value(op.operands[1]).kind == ValueKind::adapter &&
                         graph.value(op.operands[1]).name.ends_with(kLoraASuffix);
    if (reads_a)
      op.operands[0] = add_op(
          graph,
          {OpKind::dropout, {op.operands[0]}, DropoutAttrs{p, stream++}, op.name + ".dropout", op.role, op.layer})[0];
    graph.ops.push_back(std::move(op));
  }
  set_ops(graph, std::move(graph.ops));
}

}  // namespace plimsoll
