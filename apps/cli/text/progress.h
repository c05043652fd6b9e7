// Progress on stderr: one line that is written over on a terminal, plain lines when piped.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "cli/text/terminal.h"
#include "train/trainer.h"

namespace plimsoll::cli {

// "step 12/120  loss 2.310  1,850 tok/s  [████████░░░] 812 of 1024 MiB  eta 3:10", what fits in terminal.width; without
// a line (memory_bytes 0) the use alone.
std::string progress_text(const TrainProgress& progress, const Terminal& terminal);

class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();  // ends the line
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // On a terminal at most ten times a second; piped at most once a second. The last step always shows.
  void update(const TrainProgress& progress);
  // The same for other work: "layer 3/30".
  void update(const std::string& stage, int64_t done, int64_t of);
  void finish();  // leaves the last line standing

 private:
  void show(bool last, const std::function<std::string(const Terminal&)>& text);

  Terminal terminal_;
  bool open_ = false;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace plimsoll::cli
