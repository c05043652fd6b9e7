#include "passes/fuse_update.h"

#include <string>
#include <unordered_map>

#include "base/error.h"
#include "ops/op_def.h"
#include "passes/autodiff.h"
#include "passes/rewrite.h"

namespace plimsoll {
namespace {

// Where the gradient of each parameter begins and is done, by index of the op; and its persistent accumulator, which
// gives way to one that lives in between.
struct GradientRanges {
  std::vector<ValueId> accumulators;  // of each parameter
  std::unordered_map<int, std::vector<size_t>> begin_before, done_behind;
};

// From the first op that adds to a gradient to the last one that does or that, where the parameter changes, reads its
// weights.
GradientRanges find_ranges(const Graph& step, const std::vector<TrainedParameter>& trained, bool weights_change) {
  std::unordered_map<std::string, ValueId> persistent;
  for (size_t i = 0; i < step.values.size(); ++i)
    if (is_persistent(step.values[i].kind)) persistent.emplace(step.values[i].name, static_cast<ValueId>(i));
  GradientRanges ranges;
  std::unordered_map<ValueId, size_t> of_gradient, of_weights;
  for (size_t i = 0; i < trained.size(); ++i) {
    ranges.accumulators.push_back(persistent.at(gradient_name(trained[i].name)));
    of_gradient[ranges.accumulators[i]] = i;
    if (weights_change) of_weights[persistent.at(trained[i].name)] = i;
  }
  std::vector<int> first(trained.size(), -1), last(trained.size(), -1);
  for (size_t op = 0; op < step.ops.size(); ++op) {
    for (const ValueId id : step.ops[op].operands) {
      if (const auto found = of_gradient.find(id); found != of_gradient.end()) {
        if (first[found->second] < 0) first[found->second] = static_cast<int>(op);
        last[found->second] = static_cast<int>(op);
      }
      if (const auto found = of_weights.find(id); found != of_weights.end()) last[found->second] = static_cast<int>(op);
    }
  }
  for (size_t i = 0; i < trained.size(); ++i) {
    PLIMSOLL_CHECK(first[i] >= 0, trained[i].name + " has no gradient");
    ranges.begin_before[first[i]].push_back(i);
    ranges.done_behind[last[i]].push_back(i);
  }
  return ranges;
}

}  // namespace

void fuse_update(Graph& step, const std::vector<TrainedParameter>& trained, const OptimizerAttrs& attrs,
                 double clip_norm, GradientUse use) {
  GradientRanges ranges = find_ranges(step, trained, use != GradientUse::measure);
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
  std::unordered_map<ValueId, ValueId> in_step;  // persistent accumulator → the one that ranges within the step
  for (size_t op = 0; op < original.size(); ++op) {
    const int index = static_cast<int>(op);
    const size_t begun = step.ops.size();
    for (const size_t i : ranges.begin_before[index]) {
      const BeginGradientAttrs begin{trained[i].shape, trained[i].clear_gradient};
      const std::string name = gradient_name(trained[i].name);
      in_step[ranges.accumulators[i]] = add_op(step, {OpKind::begin_gradient, {}, begin, name, OpRole::backward})[0];
    }
    Op copy = original[op];
    for (ValueId& id : copy.operands)
      if (const auto found = in_step.find(id); found != in_step.end()) id = found->second;
    step.ops.push_back(std::move(copy));
    for (const size_t i : ranges.done_behind[index]) {
      const std::string name = gradient_name(trained[i].name);
      const ValueId gradient = in_step.at(ranges.accumulators[i]);
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
  for (const ValueId accumulator : ranges.accumulators) {
    step.value(accumulator).kind = ValueKind::input;
    step.value(accumulator).shape = {0};
  }
}

}  // namespace plimsoll
