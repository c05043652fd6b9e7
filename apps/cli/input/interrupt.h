// Ctrl-C as a wish of the person at the terminal, not as the end of the program.
#pragma once

namespace plimsoll::cli {

// While it lives, Ctrl-C (SIGINT) sets a flag. One at a time.
class InterruptFlag {
 public:
  InterruptFlag();
  // `notice` (which must outlive it) is written to stderr at once, SIGTERM counts too, and the second of either ends
  // the program as if nobody had listened.
  explicit InterruptFlag(const char* notice);
  ~InterruptFlag();
  InterruptFlag(const InterruptFlag&) = delete;
  InterruptFlag& operator=(const InterruptFlag&) = delete;

  bool is_set() const;
  int signal_number() const;  // 0: none came
  void clear();
};

}  // namespace plimsoll::cli
