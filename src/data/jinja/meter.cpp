#include "data/jinja/meter.h"

#include <limits>

namespace plimsoll::jinja {
namespace {
thread_local int64_t t_live_bytes = 0;
thread_local int64_t t_steps = 0;
thread_local int64_t t_step_limit = std::numeric_limits<int64_t>::max();
}  // namespace

void work(int64_t units) {
  t_steps += units;
  if (t_steps > t_step_limit) {
    throw Failure("the template has run for more than " + std::to_string(t_step_limit) + " steps");
  }
}

StepLimit::StepLimit(int64_t steps) : used_before_(t_steps), limit_before_(t_step_limit) {
  t_steps = 0;
  t_step_limit = steps;
}

StepLimit::~StepLimit() {
  t_steps = used_before_;
  t_step_limit = limit_before_;
}

void add_live_bytes(int64_t bytes) {
  if (t_live_bytes + bytes > kMaxLiveBytes) throw Failure("the values need more than 256 MiB");
  t_live_bytes += bytes;
}

void drop_live_bytes(int64_t bytes) noexcept { t_live_bytes -= bytes; }

int64_t live_bytes() { return t_live_bytes; }

}  // namespace plimsoll::jinja
