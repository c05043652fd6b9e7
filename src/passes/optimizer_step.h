// The update phase as a graph: clip, update every trained parameter, clear its gradient where the step needs that.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace plimsoll {

// A persistent value that training changes. Compute reads `name`; when compute is narrower than f32, an f32 master copy
// holds the truth.
struct TrainedParameter {
  std::string name;
  Shape shape;
  DType compute = DType::f32;
  ValueKind kind = ValueKind::parameter;  // parameter or adapter
  bool clear_gradient = true;             // false: an op of the step starts its sum anew

  std::string master_name() const { return compute == DType::f32 ? name : "master." + name; }
};

std::string first_moment_name(const std::string& parameter);  // also the momentum of sgd
std::string second_moment_name(const std::string& parameter);

// Values of `parameter` as every graph that mentions it must declare them.
Value compute_value(const TrainedParameter& parameter);
Value master_value(const TrainedParameter& parameter);

// State values that `rule` keeps for a parameter: (name, f32 value), possibly none.
std::vector<Value> optimizer_state_values(const TrainedParameter& parameter, const OptimizerAttrs& attrs);

// AdamW's decay applies to tensors of two or more dimensions only, as trainers of the field do; adam and sgd add theirs
// to the gradient of every tensor, as torch.optim does.
Graph build_update(const std::vector<TrainedParameter>& trained, const OptimizerAttrs& attrs, double clip_norm);

}  // namespace plimsoll
