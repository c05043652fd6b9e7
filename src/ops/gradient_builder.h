// What a gradient rule works with: the graph being extended, and the gradient of each value so far.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "ir/graph.h"

namespace plimsoll {

class GradientBuilder {
 public:
  // `parameter_gradients`: the accumulator of each trained parameter.
  GradientBuilder(Graph& graph, std::unordered_map<ValueId, ValueId> parameter_gradients,
                  std::vector<bool> needs_gradient)
      : graph_(graph),
        parameter_gradients_(std::move(parameter_gradients)),
        needs_gradient_(std::move(needs_gradient)) {}

  Graph& graph() { return graph_; }
  bool needs(ValueId value) const { return value != kNoValue && needs_gradient_[static_cast<size_t>(value)]; }
  // The gradient of `value` so far; kNoValue when nothing has reached it.
  ValueId gradient_of(ValueId value) const {
    const auto found = gradients_.find(value);
    return found == gradients_.end() ? kNoValue : found->second;
  }
  // The new total gradient of `value` (a rule that adds onto gradient_of(value) passes it as an addend to its op).
  void set_gradient(ValueId value, ValueId gradient) { gradients_[value] = gradient; }
  // Adds `gradient` to what has reached `value`.
  void accumulate(ValueId value, ValueId gradient, const Op& source);
  // The persistent accumulator of a trained parameter; kNoValue for a frozen one.
  ValueId accumulator(ValueId parameter) const {
    const auto found = parameter_gradients_.find(parameter);
    return found == parameter_gradients_.end() ? kNoValue : found->second;
  }
  // Adds a backward op named and placed after the forward op it belongs to.
  std::vector<ValueId> add(OpKind kind, std::vector<ValueId> operands, OpAttrs attrs, const Op& source,
                           const char* suffix);

 private:
  Graph& graph_;
  std::unordered_map<ValueId, ValueId> parameter_gradients_;
  std::unordered_map<ValueId, ValueId> gradients_;
  std::vector<bool> needs_gradient_;
};

}  // namespace plimsoll
