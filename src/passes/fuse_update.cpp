#include "passes/fuse_update.h"

#include <string>
#include <unordered_map>

#include "base/error.h"
#include "ops/op_def.h"
#include "passes/autodiff.h"
#include "passes/rewrite.h"

namespace plimsoll {
namespace {

// Indices of ops of the step, for one parameter.
struct Range {
  int first = -1;  // that adds to its gradient
  int last = -1;   // that adds to it or, where the parameter changes, reads its weights
};

}  // namespace

void fuse_update(Graph& step, const std::vector<TrainedParameter>& trained, const OptimizerAttrs& attrs,
                 double clip_norm, GradientUse use) {
  std::unordered_map<std::string, ValueId> persistent;
  for (size_t i = 0; i < step.values.size(); ++i)
    if (is_persistent(step.values[i].kind)) persistent.emplace(step.values[i].name, static_cast<ValueId>(i));
  std::vector<ValueId> accumulators;
  std::unordered_map<ValueId, size_t> of_gradient, of_weights;
  for (size_t i = 0; i < trained.size(); ++i) {
    accumulators.push_back(persistent.at(gradient_name(trained[i].name)));
    of_gradient[accumulators[i]] = i;
    if (use != GradientUse::measure) of_weights[persistent.at(trained[i].name)] = i;
  }
  std::vector<Range> ranges(trained.size());
  for (size_t op = 0; op < step.ops.size(); ++op) {
    for (const ValueId id : step.ops[op].operands) {
      if (const auto found = of_gradient.find(id); found != of_gradient.end()) {
        Range& range = ranges[found->second];
        if (range.first < 0) range.first = static_cast<int>(op);
        range.last = static_cast<int>(op);
      }
      if (const auto found = of_weights.find(id); found != of_weights.end())
        ranges[found->second].last = static_cast<int>(op);
    }
  }
  std::unordered_map<int, std::vector<size_t>> begin_before, done_behind;
  for (size_t i = 0; i < trained.size(); ++i) {
    PLIMSOLL_CHECK(ranges[i].first >= 0, trained[i].name + " has no gradient");
    begin_before[ranges[i].first].push_back(i);
    done_behind[ranges[i].last].push_back(i);
  }

  const std::vector<Op> original = std::move(step.ops);
  step.ops.clear();
  const ValueId sums =
      add_value(step, {kGradientSquares, DType::f64, {static_cast<int64_t>(trained.size())}, ValueKind::gradient});
  ValueId coefficient = kNoValue;
  const auto add_clip = [&] {
    return add_op(
        step, {OpKind::clip_coefficient, {sums}, ClipAttrs{clip_norm, true}, "clip_coefficient", OpRole::update})[0];
  };
  if (use == GradientUse::update_by_norm) coefficient = add_clip();
  std::unordered_map<ValueId, ValueId> in_step;  // persistent accumulator → the one that lives within the step
  for (size_t op = 0; op < original.size(); ++op) {
    const int index = static_cast<int>(op);
    const size_t begun = step.ops.size();
    for (const size_t i : begin_before[index]) {
      const BeginGradientAttrs begin{trained[i].shape, trained[i].clear_gradient};
      const std::string name = gradient_name(trained[i].name);
      in_step[accumulators[i]] = add_op(step, {OpKind::begin_gradient, {}, begin, name, OpRole::backward})[0];
    }
    Op copy = original[op];
    for (ValueId& id : copy.operands)
      if (const auto found = in_step.find(id); found != in_step.end()) id = found->second;
    step.ops.push_back(std::move(copy));
    for (const size_t i : done_behind[index]) {
      const std::string name = gradient_name(trained[i].name);
      const ValueId gradient = in_step.at(accumulators[i]);
      if (use != GradientUse::update_by_norm)
        add_op(step, {OpKind::square_sum,
                      {gradient, sums},
                      SquareSumAttrs{static_cast<int64_t>(i)},
                      "squares." + name,
                      OpRole::update});
      if (use != GradientUse::measure) add_update(step, trained[i], attrs, i, gradient, coefficient);
    }
    // They belong to the layer at hand: what streams weights by layers is not torn apart.
    for (size_t k = begun; k < step.ops.size(); ++k) step.ops[k].layer = original[op].layer;
  }
  // Measured for the report of the step; what is updated as it is has no coefficient.
  if (use == GradientUse::update) add_clip();
  set_ops(step, std::move(step.ops));
  // Nothing mentions the persistent accumulators any more.
  for (const ValueId accumulator : accumulators) {
    step.value(accumulator).kind = ValueKind::input;
    step.value(accumulator).shape = {0};
  }
}

}  // namespace plimsoll
