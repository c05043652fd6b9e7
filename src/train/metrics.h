// metrics.jsonl: one line a step. A resumed run drops the lines behind its checkpoint and goes on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace plimsoll {

struct StepMetrics {
  int64_t step = 0;
  double loss = 0, lr = 0, grad_norm = 0;
  int64_t tokens = 0;  // of this step, padding not counted
  double tokens_per_second = 0, mfu = 0;
  int64_t peak_resident_bytes = 0;
  double seconds = 0;  // of this step
  std::optional<double> eval_loss;
  std::optional<double> loss_scale;  // fp16: that this step used
  bool skipped = false;              // fp16: a gradient overflowed, nothing was updated
};

class MetricsFile {
 public:
  // Keeps the lines of steps below `first_step`. World Error when the file cannot be written.
  MetricsFile(const std::string& path, int64_t first_step);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  void append(const StepMetrics& metrics);

  // Of the last line that was kept from an earlier run.
  const std::optional<StepMetrics>& last_kept() const { return last_kept_; }

 private:
  std::optional<StepMetrics> last_kept_;
  std::string path_;
  int fd_ = -1;
};

}  // namespace plimsoll
