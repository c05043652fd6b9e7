// How far a download is, on stderr: a line that is written over on a terminal, plain lines when piped.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "cli/text/terminal.h"

namespace plimsoll::cli {

class FetchProgress {
 public:
  FetchProgress();
  ~FetchProgress();  // ends the line
  FetchProgress(const FetchProgress&) = delete;
  FetchProgress& operator=(const FetchProgress&) = delete;

  // On a terminal at most ten times a second; piped every ten seconds, and at the end of each file.
  void update(const std::string& path, int64_t done, int64_t total);

 private:
  using Clock = std::chrono::steady_clock;
  Terminal terminal_;
  std::string path_;
  int64_t begin_bytes_ = 0;
  Clock::time_point begin_{}, shown_{};
  bool open_ = false;
};

}  // namespace plimsoll::cli
