#include "fetch/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/text.h"

namespace plimsoll::cli {
namespace {

// "model.safetensors  [████░░░░] 1.2 GiB of 2.5 GiB  48 MiB/s  eta 0:27"; without a rate yet, 0, the last two are left
// out.
std::string progress_text(const std::string& path, int64_t done, int64_t total, double bytes_per_second,
                          const Terminal& terminal) {
  const double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1.0;
  std::string text = one_line(path, 60) + "  ";
  if (terminal.is_terminal) text += fmt::format("[{}] ", bar(share, 20, terminal));
  text += done == total ? format_bytes(total) : fmt::format("{} of {}", format_bytes(done), format_bytes(total));
  if (bytes_per_second >= 1 && bytes_per_second < 1e15) {
    text += fmt::format("  {}/s", format_bytes(static_cast<int64_t>(bytes_per_second)));
    if (done < total) text += "  eta " + format_duration(static_cast<double>(total - done) / bytes_per_second);
  }
  return terminal.is_terminal ? fit_columns(text, terminal.width - 1) : text;
}

}  // namespace

FetchProgress::FetchProgress() : terminal_(inspect_terminal(STDERR_FILENO)) {}
FetchProgress::~FetchProgress() {
  if (open_) write_stderr("\n");
}

void FetchProgress::update(const std::string& path, int64_t done, int64_t total) {
  if (log_level() == LogLevel::quiet) return;
  const Clock::time_point now = Clock::now();
  if (path != path_) {
    if (open_) write_stderr("\n");
    open_ = false;
    path_ = path;
    begin_bytes_ = done;
    begin_ = now;
    shown_ = terminal_.is_terminal ? Clock::time_point{} : now;
    if (!terminal_.is_terminal && done > 0 && done < total)
      write_stderr(fmt::format("{}: goes on from {} bytes\n", one_line(path, 60), format_thousands(done)));
  }
  const bool due = done == total || now - shown_ >= std::chrono::milliseconds(terminal_.is_terminal ? 100 : 10000);
  if (!due) return;
  shown_ = now;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  const double rate = seconds > 0.2 ? static_cast<double>(done - begin_bytes_) / seconds : 0.0;
  if (terminal_.is_terminal) terminal_.width = inspect_terminal(STDERR_FILENO).width;
  const std::string text = progress_text(path, done, total, rate, terminal_);
  write_stderr(terminal_.is_terminal ? fmt::format("\r{}\033[K", text) : text + "\n");
  open_ = terminal_.is_terminal;
}

}  // namespace plimsoll::cli
