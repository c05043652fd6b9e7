#include "train/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "config/recipe/recipe_fields.h"
#include "config/recipe/recipe_toml.h"
#include "formats/text_file.h"
#include "train/metrics.h"

namespace plimsoll {

namespace fs = std::filesystem;

RunFolderLock::RunFolderLock(const std::string& folder) {
  // The folder itself is locked: nothing is left behind, and the lock goes with the process.
  fd_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) throw world_error(folder, "cannot be opened", "check the path and its permissions", errno);
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  const int reason = errno;
  ::close(fd_);
  if (reason == EWOULDBLOCK)
    throw caller_error(folder, "another run is writing here", "wait for it, or give another --out");
  fd_ = -1;  // a file system without locks
}

RunFolderLock::~RunFolderLock() {
  if (fd_ >= 0) ::close(fd_);
}

namespace {

using Fields = std::vector<const RecipeField*>;

void require_same_run(const Recipe& begun, const Recipe& recipe, const Fields& unknown) {
  constexpr std::array<std::string_view, 7> kMayChange = {"steps",     "epochs",     "threads",   "memory",
                                                          "eval-data", "save-every", "eval-every"};
  for (const RecipeField& field : recipe_fields()) {
    if (std::find(kMayChange.begin(), kMayChange.end(), field.name) != kMayChange.end()) continue;
    if (std::find(unknown.begin(), unknown.end(), &field) != unknown.end()) continue;
    const std::string before = field_text(field, field.get(begun));
    const std::string now = field_text(field, field.get(recipe));
    if (before == now) continue;
    const auto shown = [](const std::string& text) { return text.empty() ? std::string("not set") : text; };
    throw caller_error("--" + std::string(field.name), "is " + shown(now) + ", the run was begun with " + shown(before),
                       "leave the flag out to go on with the run's own recipe, or begin another in a new --out");
  }
}

}  // namespace

Recipe with_absolute_paths(Recipe recipe) {
  const auto anchor = [](std::string& path) {
    std::error_code error;
    if (path.empty() || !fs::exists(path, error)) return;
    const fs::path absolute = fs::absolute(path, error);
    if (error) return;
    const bool climbs = path.find("..") != std::string::npos;  // perhaps out of a link
    path = climbs ? absolute.string() : absolute.lexically_normal().string();
  };
  anchor(recipe.model);
  anchor(recipe.adapter);
  anchor(recipe.eval_data);
  for (std::string& path : recipe.data) anchor(path);
  return recipe;
}

void require_same_run(const Recipe& begun, const Recipe& recipe) { require_same_run(begun, recipe, {}); }

void require_same_run(const std::string& recipe_file, const Recipe& recipe) {
  require_same_run(with_absolute_paths(read_recipe_file(recipe_file)), recipe,
                   lost_recipe_fields(read_text_file(recipe_file)));
}

std::string finished_result(const std::string& out) {
  if (file_exists(out + "/adapter/adapter_config.json")) return out + "/adapter";
  return file_exists(out + "/model/config.json") ? out + "/model" : "";
}

std::optional<TrainReport> find_finished_run(const std::string& out, const Recipe& recipe,
                                             const std::optional<CheckpointProgress>& checkpoint) {
  TrainReport report;
  report.output = finished_result(out);
  const std::optional<StepMetrics> last = read_last_metrics(out + "/metrics.jsonl");
  if (report.output.empty() || !last) return std::nullopt;
  bool done = recipe.steps && last->step >= *recipe.steps;
  if (!checkpoint && !done) {  // a run without checkpoints that has a result ended with it
    const Recipe begun = read_recipe_file(out + "/recipe.toml");
    done = begun.steps == recipe.steps && begun.epochs == recipe.epochs;
    if (!done)
      throw caller_error(out, "holds a finished run without a checkpoint to go on from",
                         fmt::format("begin another in a new --out{}; with --save-every there will be checkpoints",
                                     report.output.ends_with("/adapter") ? ", from --adapter " + report.output : ""));
  }
  if (!done) return std::nullopt;
  report.was_done = true;
  report.steps = last->step;
  report.final_loss = last->loss;
  report.eval_loss = last->eval_loss;
  report.tokens_per_second = last->tokens_per_second;
  report.peak_resident_bytes = last->peak_resident_bytes;
  const auto plan = nlohmann::json::parse(read_text_file(out + "/plan.json"), nullptr, false);
  if (plan.is_object()) {
    report.arena_bytes = plan.value("arena_bytes", int64_t{0});
    report.planned_total_bytes = plan.value("total_bytes", int64_t{0});
  }
  return report;
}

}  // namespace plimsoll
