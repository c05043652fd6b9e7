#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/plan_text.h"
#include "cli/progress.h"
#include "cli/recipe_options.h"
#include "config/recipe/recipe_toml.h"
#include "formats/text_file.h"
#include "train/trainer.h"

namespace plimsoll::cli {
namespace {

constexpr const char* kStopNotice =
    "\nplimsoll: stopping: the step is finished and a checkpoint saved; once more stops at once\n";

struct TrainCommandOptions {
  std::string recipe_file;
  std::vector<RecipeFlag> flags;
  std::string out;
  bool resume = false;
  bool profile = false;
  bool json = false;
};

// A run that goes on takes no default for a line that somebody took out of its recipe.
void require_whole_recipe(const std::string& file, const TrainCommandOptions& options) {
  std::error_code error;
  if (!std::filesystem::equivalent(file, options.out + "/recipe.toml", error)) return;
  for (const RecipeField* field : lost_recipe_fields(read_text_file(file))) {
    const auto given = std::ranges::find(options.flags, field, [](const RecipeFlag& flag) { return flag.first; });
    if (given != options.flags.end()) continue;
    const std::string standard = field_text(*field, field->get(Recipe{}));
    throw caller_error(
        file, fmt::format("has no line for {} any more", recipe_key(*field)),
        fmt::format("put it back, or give --{} as the run was begun with it ({})", field->name,
                    standard.empty() ? "not set, if it was left out: # " + recipe_key(*field) + " is not set"
                                     : "the default is " + standard));
  }
}

// With --resume and no recipe, the one that the run wrote.
Recipe recipe_of(const TrainCommandOptions& options) {
  if (!options.recipe_file.empty() && !is_recipe_file(options.recipe_file))
    throw caller_error(one_line(options.recipe_file, 80), "is not a RECIPE.toml",
                       fmt::format("give the model as --model {}", one_line(options.recipe_file, 80)));
  std::string file = options.recipe_file;
  // A run that was killed before it wrote its recipe goes on, too, when the flags say it all.
  if (file.empty() && options.resume &&
      (options.flags.empty() || std::filesystem::exists(options.out + "/recipe.toml")))
    file = options.out + "/recipe.toml";
  if (options.resume && !file.empty()) require_whole_recipe(file, options);
  Recipe recipe = load_recipe(file, options.flags);
  if (recipe.model.empty())
    throw caller_error("--model", "is missing", "give --model MODEL, or a RECIPE.toml that has a model");
  if (recipe.data.empty())
    throw caller_error("--data", "is missing", "give --data FILE.jsonl, or a RECIPE.toml that has data");
  return recipe;
}

Json report_json(const TrainReport& report) {
  Json json;
  json["steps"] = report.steps;
  json["final_loss"] = report.final_loss;
  json["eval_loss"] = report.eval_loss ? Json(*report.eval_loss) : Json();
  if (report.skipped_steps) json["skipped_steps"] = *report.skipped_steps;
  json["tokens_per_second"] = report.tokens_per_second;
  json["arena_bytes"] = report.arena_bytes;
  json["planned_total_bytes"] = report.planned_total_bytes;
  json["peak_resident_bytes"] = report.peak_resident_bytes;
  json["output"] = report.output;
  if (report.interrupted) json["interrupted"] = true;
  return json;
}

std::string report_text(const TrainReport& report) {
  std::string text = fmt::format("{} {}, loss {:.4f}", format_thousands(report.steps),
                                 report.steps == 1 ? "step" : "steps", report.final_loss);
  if (report.eval_loss) text += fmt::format(", evaluation loss {:.4f}", *report.eval_loss);
  if (report.skipped_steps) text += fmt::format(", {} skipped for overflow", *report.skipped_steps);
  return text + fmt::format("\n{} tokens/s, {} used of {} planned\n{}\n",
                            format_thousands(std::llround(report.tokens_per_second)),
                            format_bytes(report.peak_resident_bytes), format_bytes(report.planned_total_bytes),
                            report.output);
}

int run_train(const TrainCommandOptions& options) {
  ProgressLine progress;
  TrainOptions training;
  training.recipe = recipe_of(options);
  training.out = options.out;
  training.resume = options.resume;
  training.profile = options.profile;
  training.on_plan = [](const PlanReport& plan) { log_note(plan_text(plan, inspect_terminal(STDERR_FILENO))); };
  training.on_progress = [&](const TrainProgress& step) { progress.update(step); };
  // From the first step on; before it there is nothing to keep, and Ctrl-C ends the program.
  std::optional<InterruptFlag> interrupt;
  training.on_begin = [&] { interrupt.emplace(kStopNotice); };
  training.interrupted = [&] { return interrupt->is_set(); };
  const TrainReport report = run_training(training);
  progress.finish();
  if (report.was_done)
    log_note(fmt::format("{}: nothing to do: step {} was its last; --steps N makes the run longer", options.out,
                         report.steps));
  if (report.interrupted)
    log_note(fmt::format("stopped after step {}; plimsoll train --resume --out {} goes on from there", report.steps,
                         options.out));
  if (options.json) write_json(report_json(report));
  else write_page(report_text(report));
  return report.interrupted ? 128 + interrupt->signal_number() : 0;
}

}  // namespace

Command train_command() {
  auto options = std::make_shared<TrainCommandOptions>();
  return {
      .name = "train",
      .summary = "plan a run, then run it inside the line",
      .examples = {"plimsoll train --model SmolLM2-135M-Instruct.gguf --data train.jsonl --memory 1GiB --out run",
                   "plimsoll train run/recipe.toml --lr 5e-5 --out second --json"},
      .arguments =
          {{.name = "[RECIPE.toml]",
            .value_name = "RECIPE.toml",
            .help = "a recipe; flags go over it",
            .target = &options->recipe_file},
           {.name = "--out",
            .value_name = "DIR",
            .help = "folder for recipe.toml, plan.json, metrics.jsonl, checkpoints and the result",
            .target = &options->out,
            .required = true},
           {.name = "--resume",
            .value_name = "",
            .help = "go on where the run in --out stopped, also by Ctrl-C; its recipe.toml holds when none is given",
            .target = &options->resume},
           {.name = "--profile",
            .value_name = "",
            .help = "note the time per kind of op at the end",
            .target = &options->profile}},
      .recipe_flags = &options->flags,
      .json = &options->json,
      .run = [options] { return run_train(*options); }};
}

}  // namespace plimsoll::cli
