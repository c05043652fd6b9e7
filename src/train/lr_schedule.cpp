#include "train/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace plimsoll {
namespace {

double factor_of_step(LrScheduleKind kind, int64_t step, int64_t warmup_steps, int64_t total_steps) {
  if (step < warmup_steps) return static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup_steps));
  const auto falling_steps = static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  switch (kind) {
    case LrScheduleKind::constant:
      return 1.0;
    case LrScheduleKind::linear:
      return std::max(0.0, static_cast<double>(total_steps - step) / falling_steps);
    case LrScheduleKind::cosine:
      break;
  }
  const double progress = static_cast<double>(step - warmup_steps) / falling_steps;
  return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
}

}  // namespace

double lr_of_step(LrScheduleKind kind, double lr, int64_t step, int64_t warmup_steps, int64_t total_steps) {
  return lr * factor_of_step(kind, step, warmup_steps, total_steps);
}

double relative_step(int64_t step) { return std::min(1e-2, 1.0 / std::sqrt(static_cast<double>(step + 1))); }

}  // namespace plimsoll
