#include "train/loss_scale.h"

namespace plimsoll {
namespace {
constexpr double kGrowth = 2, kBackoff = 0.5;
}

void update_loss_scale(LossScaleState& state, bool overflow, int64_t interval) {
  if (overflow) {
    state.scale *= kBackoff;
    state.good_steps = 0;
    ++state.skipped_steps;
    return;
  }
  if (++state.good_steps < interval) return;
  state.scale *= kGrowth;
  state.good_steps = 0;
}

}  // namespace plimsoll
