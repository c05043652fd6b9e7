// Learning rate by optimizer step.
#pragma once

#include <cstdint>

#include "config/recipe/recipe.h"

namespace plimsoll {

// The rate that optimizer step `step` uses, counted from 0, with transformers' semantics
// (get_{constant,linear,cosine}_schedule_with_warmup): during the warm-up lr * step / warmup_steps, so that step 0 has
// rate 0; then constant, or falling to 0 at `total_steps`, linearly or along half a cosine. Past total_steps linear
// stays at 0. Requires step, warmup_steps, total_steps >= 0.
double lr_of_step(LrScheduleKind kind, double lr, int64_t step, int64_t warmup_steps, int64_t total_steps);

// Adafactor's own: 0.01, and 1 / √(step + 1) from the 10,000th step on.
double relative_step(int64_t step);

}  // namespace plimsoll
