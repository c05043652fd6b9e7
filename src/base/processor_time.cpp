#include "base/processor_time.h"

#include <ctime>
#include <filesystem>
#include <fstream>

namespace plimsoll {

double process_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::optional<ProcessorShare> processor_share() {
  ProcessorShare share;
  bool found = false;
  std::error_code ignored;
  for (std::filesystem::directory_iterator task("/proc/self/task", ignored), end; !ignored && task != end;
       task.increment(ignored)) {
    std::ifstream file(task->path() / "schedstat");
    double ran = 0, waited = 0;  // nanoseconds
    if (!(file >> ran >> waited)) continue;
    share.ran_seconds += 1e-9 * ran;
    share.waited_seconds += 1e-9 * waited;
    found = true;
  }
  if (!found) return std::nullopt;
  return share;
}

}  // namespace plimsoll
