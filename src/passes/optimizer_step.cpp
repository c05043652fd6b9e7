#include "passes/optimizer_step.h"

#include "ops/op_def.h"
#include "passes/autodiff.h"

namespace plimsoll {

std::string first_moment_name(const std::string& parameter) { return "m." + parameter; }
std::string second_moment_name(const std::string& parameter) { return "v." + parameter; }

Value compute_value(const TrainedParameter& parameter) {
  return {parameter.name, parameter.compute, parameter.shape, parameter.kind};
}

Value master_value(const TrainedParameter& parameter) {
  const ValueKind kind = parameter.compute == DType::f32 || parameter.kind == ValueKind::adapter
                             ? parameter.kind
                             : ValueKind::master_weights;
  return {parameter.master_name(), DType::f32, parameter.shape, kind};
}

std::vector<Value> optimizer_state_values(const TrainedParameter& parameter, const OptimizerAttrs& attrs) {
  std::vector<Value> values;
  if (attrs.rule != UpdateRule::sgd || attrs.momentum != 0)
    values.push_back({first_moment_name(parameter.name), DType::f32, parameter.shape, ValueKind::optimizer_state});
  if (attrs.rule != UpdateRule::sgd)
    values.push_back({second_moment_name(parameter.name), DType::f32, parameter.shape, ValueKind::optimizer_state});
  return values;
}

Graph build_update(const std::vector<TrainedParameter>& trained, const OptimizerAttrs& attrs, double clip_norm) {
  Graph graph;
  graph.phase = "update";
  std::vector<ValueId> gradients;
  for (const TrainedParameter& parameter : trained)
    gradients.push_back(
        add_value(graph, {gradient_name(parameter.name), DType::f32, parameter.shape, ValueKind::gradient}));
  const ValueId coefficient =
      add_op(graph, {OpKind::clip_coefficient, gradients, ClipAttrs{clip_norm}, "clip_coefficient", OpRole::update})[0];
  for (size_t i = 0; i < trained.size(); ++i) {
    const TrainedParameter& parameter = trained[i];
    const ValueId master = add_value(graph, master_value(parameter));
    std::vector<ValueId> state;
    for (Value& value : optimizer_state_values(parameter, attrs)) state.push_back(add_value(graph, std::move(value)));
    state.resize(2, kNoValue);
    const ValueId copy = parameter.compute == DType::f32 ? kNoValue : add_value(graph, compute_value(parameter));
    OptimizerAttrs own = attrs;
    if (attrs.rule == UpdateRule::adamw && parameter.shape.rank() < 2) own.weight_decay = 0;
    add_op(graph, {OpKind::optimizer_update,
                   {master, gradients[i], state[0], state[1], coefficient, copy},
                   own,
                   "update." + parameter.name,
                   OpRole::update});
    if (parameter.clear_gradient)
      add_op(graph, {OpKind::fill_zero, {gradients[i]}, {}, "clear." + parameter.name, OpRole::update});
  }
  return graph;
}

}  // namespace plimsoll
