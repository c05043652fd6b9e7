// The update phase as a graph: clip, update every trained parameter, clear its gradient where the step needs that.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace plimsoll {

// A persistent value that training changes. Compute reads `name`; when compute is narrower than f32, an f32 master copy
// holds the truth, unless the run keeps none.
struct TrainedParameter {
  std::string name;
  Shape shape;
  DType compute = DType::f32;
  ValueKind kind = ValueKind::parameter;  // parameter or adapter
  bool clear_gradient = true;             // false: an op of the step starts its sum anew
  bool keep_master = true;
  double lr_scale = 1;
  FakeQuantAttrs fake_quant = {};  // of the compute copy

  // Beside the compute copy.
  bool has_master() const { return keep_master && (compute != DType::f32 || fake_quant.bits > 0); }
  std::string master_name() const { return has_master() ? "master." + name : name; }
};

// Values of `parameter` as every graph that mentions it must declare them.
Value compute_value(const TrainedParameter& parameter);
Value master_value(const TrainedParameter& parameter);

// State that the rule keeps for a parameter, in the order of optimizer_update's operands:
//   adamw, adam: m, v (attrs.state)     sgd: m (f32), with momentum     all others f32
//   adamw8bit: m, v as codes, then their absmax by block (quant/bnb/adamw8bit.h); of fewer than 4096 elements as adamw
//   adafactor: v_rows and v_columns of a matrix (the means of rows and columns), v of a vector
std::vector<Value> optimizer_state_values(const TrainedParameter& parameter, const OptimizerAttrs& attrs);

// The decay of adamw, adamw8bit and adafactor applies to tensors of two or more dimensions only, as trainers of the
// field do; adam and sgd add theirs to the gradient of every tensor, as torch.optim does.
// The ops that make the compute copy from its master, where there is one: rounded, or quantized and back.
void add_compute_copy(Graph& graph, const TrainedParameter& parameter, ValueId master, OpRole role);

// The name of the persistent sums of squares that square_sum writes and clip_coefficient reads; one for each parameter.
inline constexpr const char* kGradientSquares = "gradient_squares";

// Updates one parameter by its gradient in `graph`. `stream`: of random bits, its own for each parameter.
void add_update(Graph& graph, const TrainedParameter& parameter, const OptimizerAttrs& attrs, uint64_t stream,
                ValueId gradient, ValueId coefficient);

Graph build_update(const std::vector<TrainedParameter>& trained, const OptimizerAttrs& attrs, double clip_norm);

}  // namespace plimsoll
