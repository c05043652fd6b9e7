// What the processors gave this process: on a machine that others use, the clock on the wall says little.
#pragma once

#include <optional>

namespace plimsoll {

// Of all threads of this process, user and system, since it began.
double process_seconds();

// What the threads that are alive have waited for a processor while they could have run, since they began, and what
// they had (/proc/self/task/*/schedstat). Empty where the kernel doesn't count it.
struct ProcessorShare {
  double ran_seconds = 0, waited_seconds = 0;
};
std::optional<ProcessorShare> processor_share();

}  // namespace plimsoll
