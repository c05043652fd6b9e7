#include "passes/optimizer_step.h"

#include "base/bytes.h"
#include "ops/op_def.h"
#include "passes/autodiff.h"
#include "quant/bnb/adamw8bit.h"

namespace plimsoll {

namespace {

constexpr int64_t kLeastCodedElements = 4096;  // as bitsandbytes' min_8bit_size

// Drops dimension `axis`, counted from the end.
Shape without(const Shape& shape, int axis) {
  std::vector<int64_t> dims(shape.dims().begin(), shape.dims().end());
  dims.erase(dims.end() - axis);
  return Shape(dims);
}

}  // namespace

Value compute_value(const TrainedParameter& parameter) {
  return {parameter.name, parameter.compute, parameter.shape, parameter.kind};
}

Value master_value(const TrainedParameter& parameter) {
  if (!parameter.has_master()) return compute_value(parameter);
  const ValueKind kind = parameter.kind == ValueKind::adapter ? parameter.kind : ValueKind::master_weights;
  return {parameter.master_name(), DType::f32, parameter.shape, kind};
}

std::vector<Value> optimizer_state_values(const TrainedParameter& parameter, const OptimizerAttrs& attrs) {
  std::vector<Value> values;
  const Shape& shape = parameter.shape;
  const auto add = [&](const char* what, DType dtype, const Shape& of) {
    values.push_back({what + ("." + parameter.name), dtype, of, ValueKind::optimizer_state});
  };
  switch (attrs.rule) {
    case UpdateRule::sgd:
      if (attrs.momentum != 0) add("m", DType::f32, shape);
      break;
    case UpdateRule::adamw8bit:
      if (const int64_t elements = shape.elements(); elements >= kLeastCodedElements) {
        const Shape blocks{ceil_div(elements, kAdamW8bitBlock)};
        add("m", DType::u8, shape);
        add("v", DType::u8, shape);
        add("m_absmax", DType::f32, blocks);
        add("v_absmax", DType::f32, blocks);
        break;
      }
      [[fallthrough]];
    case UpdateRule::adamw:
    case UpdateRule::adam:
      add("m", attrs.state, shape);
      add("v", attrs.state, shape);
      break;
    case UpdateRule::adafactor:
      if (shape.rank() < 2) {
        add("v", DType::f32, shape);
        break;
      }
      add("v_rows", DType::f32, without(shape, 1));
      add("v_columns", DType::f32, without(shape, 2));
      break;
  }
  return values;
}

void add_compute_copy(Graph& graph, const TrainedParameter& parameter, ValueId master, OpRole role) {
  if (!parameter.has_master()) return;
  const ValueId copy = add_value(graph, compute_value(parameter));
  if (parameter.fake_quant.bits > 0)
    add_op(graph, {OpKind::fake_quant, {master, copy}, parameter.fake_quant, "fake_quant." + parameter.name, role});
  else add_op(graph, {OpKind::cast, {master, copy}, {}, "cast." + parameter.name, role});
}

void add_update(Graph& graph, const TrainedParameter& parameter, const OptimizerAttrs& attrs, uint64_t stream,
                ValueId gradient, ValueId coefficient) {
  const ValueId master = add_value(graph, master_value(parameter));
  // A plain copy is rounded in the same pass as the update.
  const bool quantized = parameter.fake_quant.bits > 0;
  const ValueId copy = parameter.has_master() && !quantized ? add_value(graph, compute_value(parameter)) : kNoValue;
  std::vector<ValueId> operands = {master, gradient, coefficient, copy};
  for (Value& value : optimizer_state_values(parameter, attrs)) operands.push_back(add_value(graph, std::move(value)));
  OptimizerAttrs own = attrs;
  own.stream = stream;
  own.lr_scale = parameter.lr_scale;
  const bool decay_in_gradient = attrs.rule == UpdateRule::adam || attrs.rule == UpdateRule::sgd;
  if (!decay_in_gradient && parameter.shape.rank() < 2) own.weight_decay = 0;
  add_op(graph, {OpKind::optimizer_update, operands, own, "update." + parameter.name, OpRole::update});
  if (quantized) add_compute_copy(graph, parameter, master, OpRole::update);
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
    add_update(graph, parameter, attrs, i, gradients[i], coefficient);
    if (parameter.clear_gradient)
      add_op(graph, {OpKind::fill_zero, {gradients[i]}, {}, "clear." + parameter.name, OpRole::update});
  }
  return graph;
}

}  // namespace plimsoll
