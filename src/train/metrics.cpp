#include "train/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/output_file.h"
#include "formats/text_file.h"

namespace plimsoll {
namespace {

// Whole lines of the first `steps`; a line cut short by a crash is dropped.
std::string kept_lines(const std::string& path, int64_t steps, std::optional<StepMetrics>& last) {
  if (steps == 0 || !file_exists(path)) return {};
  const std::string text = read_text_file(path);
  std::string kept;
  size_t begin = 0;
  for (size_t end = text.find('\n'); end != std::string::npos; begin = end + 1, end = text.find('\n', begin)) {
    const std::string line = text.substr(begin, end - begin);
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer() ||
        json["step"].get<int64_t>() > steps)
      continue;
    kept += line + "\n";
    last.emplace();
    last->step = json["step"].get<int64_t>();
    last->loss = json.value("loss", 0.0);
    last->tokens_per_second = json.value("tokens_per_second", 0.0);
    last->peak_resident_bytes = json.value("peak_resident_bytes", int64_t{0});
    if (json.contains("eval_loss") && json["eval_loss"].is_number()) last->eval_loss = json["eval_loss"].get<double>();
  }
  return kept;
}

}  // namespace

MetricsFile::MetricsFile(const std::string& path, int64_t steps_done) : path_(path) {
  write_file_atomically(path, kept_lines(path, steps_done, last_kept_));
  fd_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd_ < 0) throw world_error(path, "cannot be opened for writing", "check the folder and its permissions", errno);
}

MetricsFile::~MetricsFile() {
  if (fd_ >= 0) ::close(fd_);
}

std::optional<StepMetrics> read_last_metrics(const std::string& path) {
  std::optional<StepMetrics> last;
  kept_lines(path, INT64_MAX, last);
  return last;
}

void MetricsFile::append(const StepMetrics& metrics) {
  nlohmann::ordered_json json = {{"step", metrics.step},      {"loss", metrics.loss},
                                 {"lr", metrics.lr},          {"grad_norm", metrics.grad_norm},
                                 {"tokens", metrics.tokens},  {"tokens_per_second", metrics.tokens_per_second},
                                 {"mfu", metrics.mfu},        {"peak_resident_bytes", metrics.peak_resident_bytes},
                                 {"seconds", metrics.seconds}};
  if (metrics.loss_scale) {
    json["loss_scale"] = *metrics.loss_scale;
    json["skipped"] = metrics.skipped;
  }
  if (metrics.eval_loss) json["eval_loss"] = *metrics.eval_loss;
  const std::string line = json.dump() + "\n";
  size_t written = 0;
  while (written < line.size()) {
    const ssize_t count = ::write(fd_, line.data() + written, line.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      throw world_error(path_, "cannot be written", "free space on the disk, then go on with --resume", errno);
    written += static_cast<size_t>(count);
  }
}

}  // namespace plimsoll
