// Bounds for one rendering: work done, bytes alive. Templates and rows come from strangers, so nothing that a template
// can write may hang or grow without limit. The counters belong to the thread; a Value should die in the thread that
// made it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace plimsoll::jinja {

// What goes wrong while a template is read or runs, before a line is known. render() turns it into a caller Error.
class Failure : public std::runtime_error {
 public:
  explicit Failure(const std::string& message) : std::runtime_error(message) {}
};

struct Limits {
  int64_t template_bytes = int64_t{1} << 20;
  int64_t output_bytes = int64_t{64} << 20;
  int64_t steps = 20'000'000;  // about one per evaluated node, and one per 64 bytes that an operation touches
};

inline constexpr int64_t kMaxLiveBytes = int64_t{256} << 20;   // of all values of a thread
inline constexpr int64_t kMaxStringBytes = int64_t{64} << 20;  // of one string
inline constexpr int kMaxValueDepth = 200;                     // of lists in lists
inline constexpr int kMaxNodeDepth = 250;                      // of one expression or of nested blocks
inline constexpr int kMaxCallDepth = 700;                      // nodes being evaluated inside each other

// Counts `units` steps; throws Failure when the rendering in progress has used up its steps.
void work(int64_t units);
inline void work_bytes(size_t bytes) { work(1 + static_cast<int64_t>(bytes / 64)); }

// Sets the step limit of this thread while it lives.
class StepLimit {
 public:
  explicit StepLimit(int64_t steps);
  ~StepLimit();
  StepLimit(const StepLimit&) = delete;
  StepLimit& operator=(const StepLimit&) = delete;

 private:
  int64_t used_before_, limit_before_;
};

// Bytes of values alive in this thread. Throws Failure above kMaxLiveBytes (and then counts nothing).
void add_live_bytes(int64_t bytes);
void drop_live_bytes(int64_t bytes) noexcept;
int64_t live_bytes();

}  // namespace plimsoll::jinja
