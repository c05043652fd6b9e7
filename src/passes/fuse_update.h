// Runs the optimizer inside the backward pass: a parameter is updated right after the last op that adds to its gradient
// or reads its weights, and the gradient's bytes are free again. Without it every gradient lives until the backward
// pass is over.   Lv et al. 2023, arXiv:2306.09782.
#pragma once

#include <vector>

#include "ir/graph.h"
#include "passes/optimizer_step.h"

namespace plimsoll {

// What becomes of a gradient that is complete.
enum class GradientUse {
  update,          // the parameter is updated by it as it is; its norm is measured on the way
  update_by_norm,  // the same, times the coefficient that the sums of squares give, which a pass before has written
  measure          // its sum of squares is written, nothing else: the first of two passes
};

// Wants autodiff done, recompute too, and one micro-batch a step. `trained`: all that the step has gradients for, in
// the order of their random streams. `clip_norm`: 0: measured only.
void fuse_update(Graph& step, const std::vector<TrainedParameter>& trained, const OptimizerAttrs& attrs,
                 double clip_norm, GradientUse use);

}  // namespace plimsoll
