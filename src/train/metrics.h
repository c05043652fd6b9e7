// metrics.jsonl: one line a step. A resumed run drops the lines behind its checkpoint and goes on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace plimsoll {

struct StepMetrics {
  int64_t step = 0;  // the first is 1, as in checkpoint-1
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
  // Keeps the lines of the first `steps_done` steps. World Error when the file cannot be written.
  MetricsFile(const std::string& path, int64_t steps_done);
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

// The last whole line; nullopt: no file, or none.
std::optional<StepMetrics> read_last_metrics(const std::string& path);

}  // namespace plimsoll
