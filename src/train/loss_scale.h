// Dynamic scaling of the loss in fp16, so that small gradients do not become zero (Micikevicius et al. 2017,
// arXiv:1710.03740), with the rules of torch.amp.GradScaler: a gradient that is not finite skips the step and halves
// the scale; so many steps in a row without one double it.
#pragma once

#include "checkpoint/checkpoint.h"

namespace plimsoll {

// What a finished step makes of the scale that it used.
void update_loss_scale(LossScaleState& state, bool overflow, int64_t interval);

}  // namespace plimsoll
