#include "cli/text/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <vector>

#include "base/bytes.h"
#include "base/log.h"
#include "base/text.h"

namespace plimsoll::cli {

std::string progress_text(const TrainProgress& progress, const Terminal& terminal) {
  const auto mib = [](int64_t bytes) { return format_thousands((bytes + kMiB / 2) / kMiB); };
  std::vector<std::string> parts;  // in the order in which they matter
  parts.push_back(fmt::format("step {}/{}", progress.step, progress.steps));
  parts.push_back(fmt::format("loss {:.3f}", progress.loss));
  if (std::isfinite(progress.tokens_per_second) && progress.tokens_per_second < 1e15)
    parts.push_back(format_thousands(std::llround(progress.tokens_per_second)) + " tok/s");
  if (progress.memory_bytes > 0) {
    parts.push_back(fmt::format(
        "[{}] {} of {} MiB",
        bar(static_cast<double>(progress.resident_bytes) / static_cast<double>(progress.memory_bytes), 11, terminal),
        mib(progress.resident_bytes), mib(progress.memory_bytes)));
  } else if (progress.resident_bytes > 0) {
    parts.push_back(mib(progress.resident_bytes) + " MiB");
  }
  if (progress.loss_scale && progress.skipped_steps > 0)
    parts.push_back(fmt::format("skipped {}, loss × {}", progress.skipped_steps, *progress.loss_scale));
  parts.push_back("eta " + format_duration(progress.seconds_left));
  std::string text;
  for (const std::string& part : parts) {
    const std::string longer = text.empty() ? part : text + "  " + part;
    if (text_columns(longer) > terminal.width - 1) break;
    text = longer;
  }
  return text;
}

ProgressLine::ProgressLine() : terminal_(inspect_terminal(STDERR_FILENO)) {}
ProgressLine::~ProgressLine() { finish(); }

void ProgressLine::update(const TrainProgress& progress) {
  show(progress.step >= progress.steps, [&](const Terminal& terminal) { return progress_text(progress, terminal); });
}

void ProgressLine::update(const std::string& stage, int64_t done, int64_t of) {
  show(done >= of, [&](const Terminal& terminal) {
    return fit_columns(fmt::format("{} {}/{}", stage, done, of), terminal.width - 1);
  });
}

void ProgressLine::show(bool last, const std::function<std::string(const Terminal&)>& text) {
  if (log_level() == LogLevel::quiet) return;
  const auto now = std::chrono::steady_clock::now();
  const auto pause = std::chrono::milliseconds(terminal_.is_terminal ? 100 : 1000);
  const bool due = last_ == std::chrono::steady_clock::time_point{} || now - last_ >= pause || last;
  if (!due) return;
  last_ = now;
  if (terminal_.is_terminal) {
    terminal_.width = inspect_terminal(STDERR_FILENO).width;
    write_stderr(fmt::format("\r{}\033[K", text(terminal_)));
    std::fflush(stderr);
    open_ = true;
  } else {
    write_stderr(fmt::format("{}\n", text(Terminal{.width = 1000})));
  }
}

void ProgressLine::finish() {
  if (open_) std::fputc('\n', stderr);
  open_ = false;
}

}  // namespace plimsoll::cli
