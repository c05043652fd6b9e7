#include <fmt/format.h>

#include <memory>
#include <sstream>

#include "base/bytes.h"
#include "base/error.h"
#include "base/figures.h"
#include "base/table.h"
#include "base/text.h"
#include "cli/arguments/common_arguments.h"
#include "cli/arguments/recipe_options.h"
#include "cli/commands.h"
#include "cli/text/output.h"
#include "train/fit_methods.h"
#include "train/trainer.h"

namespace plimsoll::cli {
namespace {

struct FitOptions {
  std::string model;
  std::vector<RecipeFlag> flags;
  bool json = false, csv = false;
};

std::string fit_text(const FitTable& table) {
  std::string text = fmt::format("{} in {}: rows of {} tokens, {} a step, {} thread{}\n\n", table.model,
                                 format_bytes(table.budget_bytes), format_thousands(table.seq_len), table.rows_per_step,
                                 table.threads, table.threads == 1 ? "" : "s");
  const auto count = [](int64_t n, bool more) {
    return n == 0 ? std::string("-") : format_thousands(n) + (more ? "+" : "");
  };
  std::vector<std::vector<std::string>> rows;
  for (const FitRow& row : table.rows) {
    if (!row.problem.empty()) {
      rows.push_back({row.name, row.problem});
      continue;
    }
    rows.push_back({row.name, count(row.longest_seq_len, row.longest_is_context),
                    count(row.largest_micro_batch, row.largest_micro_batch == kMostRowsAtOnce),
                    format_bytes(row.smallest_budget_bytes), row.fits ? format_bytes(row.total_bytes) : "too much",
                    row.predicted_tokens_per_second ? format_number(*row.predicted_tokens_per_second) : "-"});
  }
  const std::vector<Column> columns = {
      {"best quality first", true}, {"longest"}, {"rows"}, {"least"}, {"plan"}, {"tokens/s"}};
  text += table_text(columns, rows);
  text += fmt::format(
      "\n  longest: the longest row, one at a time, to {} tokens (+: the model's context); rows: of {} tokens at "
      "once;\n"
      "  least and plan: bytes of the whole process, least that works and fastest that fits; speed: {}\n",
      kSeqLenStep, format_thousands(table.seq_len),
      table.calibrated ? "by this machine's rates" : "by assumed rates, plimsoll calibrate measures them");
  if (table.best < 0) return text + "\n  nothing fits\n";
  const FitRow& best = table.rows[static_cast<size_t>(table.best)];
  const FitRow& cheapest = table.rows[static_cast<size_t>(table.cheapest)];
  text += fmt::format("\n  the best that fits {} tokens: {}, {}\n    {}\n", format_thousands(table.seq_len), best.name,
                      format_bytes(best.total_bytes), best.flags);
  if (table.cheapest != table.best)
    text += fmt::format("  the fewest bytes: {}, from {}\n    {}\n", cheapest.name,
                        format_bytes(cheapest.smallest_budget_bytes), cheapest.flags);
  return text;
}

std::string fit_csv(const FitTable& table) {
  std::string csv =
      "method,flags,fits,longest_seq_len,largest_micro_batch,smallest_budget_bytes,total_bytes,"
      "predicted_tokens_per_second\n";
  for (const FitRow& row : table.rows)
    csv += fmt::format("\"{}\",{},{},{},{},{},{},{}\n", row.name, row.flags, row.fits ? "true" : "false",
                       row.longest_seq_len, row.largest_micro_batch, row.smallest_budget_bytes, row.total_bytes,
                       row.predicted_tokens_per_second ? fmt::format("{:.6g}", *row.predicted_tokens_per_second) : "");
  return csv;
}

Json fit_json(const FitTable& table) {
  Json rows = Json::array();
  for (const FitRow& row : table.rows) {
    Json json = {{"method", row.name}, {"flags", row.flags}, {"fits", row.fits}};
    if (!row.problem.empty()) json["problem"] = row.problem;
    json["longest_seq_len"] = row.longest_seq_len;
    json["largest_micro_batch"] = row.largest_micro_batch;
    json["smallest_budget_bytes"] = row.smallest_budget_bytes;
    json["total_bytes"] = row.total_bytes;
    json["predicted_tokens_per_second"] =
        row.predicted_tokens_per_second ? Json(*row.predicted_tokens_per_second) : Json();
    rows.push_back(std::move(json));
  }
  const auto named = [&](int index) { return index < 0 ? Json() : Json(table.rows[static_cast<size_t>(index)].name); };
  return {{"model", table.model},
          {"budget_bytes", table.budget_bytes},
          {"seq_len", table.seq_len},
          {"rows_per_step", table.rows_per_step},
          {"context_length", table.context_length},
          {"threads", table.threads},
          {"rates", table.calibrated ? "calibrated" : "assumed"},
          {"best", named(table.best)},
          {"cheapest", named(table.cheapest)},
          {"methods", rows}};
}

// Where nothing fits: what `plan` says of the method that takes least.
std::string way_out_of(const Recipe& recipe, const std::vector<RecipeFlag>& flags, const FitTable& table) {
  const FitRow* least = nullptr;
  for (const FitRow& row : table.rows)
    if (row.problem.empty() && (least == nullptr || row.smallest_budget_bytes < least->smallest_budget_bytes))
      least = &row;
  if (least == nullptr) return "see what each method says";
  std::vector<RecipeFlag> all = flags;
  std::istringstream words(least->flags);
  for (std::string name, value; words >> name >> value;)
    all.emplace_back(find_recipe_field(name.substr(2)), std::vector{value});
  Recipe tried = load_recipe("", all);
  tried.model = recipe.model;
  const PlanReport report = plan_training(tried, false, "");
  return fmt::format("plimsoll plan {} {}: {}", one_line(recipe.model, 80), least->flags,
                     report.fits ? "fits" : does_not_fit(report).way_out());
}

int run_fit(const FitOptions& options) {
  for (const RecipeFlag& flag : options.flags)
    for (const std::string_view tried : {"method", "quant", "precision", "optimizer", "optimizer-in-backward", "stream",
                                         "micro-batch", "optimizer-state", "master-weights"})
      if (flag.first->name == tried)
        throw caller_error(fmt::format("--{}", tried), "is what fit tries out",
                           "leave it out, or ask plimsoll plan for this one method");
  if (options.json && options.csv) throw caller_error("--csv", "given together with --json", "give one of the two");
  Recipe recipe = load_recipe("", options.flags);
  recipe.model = options.model;
  if (!recipe.memory_bytes && !recipe.memory_auto)
    throw caller_error("--memory", "is missing", "for example: plimsoll fit llama-3.1-8b --memory 24GiB, or auto");
  const FitTable table = fit_methods(recipe);
  if (options.json) write_json(fit_json(table));
  else if (options.csv) write_result(fit_csv(table));
  else write_page(fit_text(table));
  if (table.best >= 0) return 0;
  throw Error(ErrorKind::does_not_fit, "--memory",
              fmt::format("no method fits {} tokens below {}", format_thousands(table.seq_len),
                          format_bytes(table.budget_bytes)),
              way_out_of(recipe, options.flags, table));
}

}  // namespace

Command fit_command() {
  auto options = std::make_shared<FitOptions>();
  return {.name = "fit",
          .summary = "which methods fit into so much memory, and how long and wide",
          .examples = {"plimsoll fit llama-3.1-8b --memory 24GiB",
                       "plimsoll fit SmolLM2-135M-Instruct.gguf --memory auto --seq-len 2048 --csv"},
          .arguments = {planned_model_argument(options->model),
                        {.name = "--csv", .value_name = "", .help = "one row a method", .target = &options->csv}},
          .recipe_flags = &options->flags,
          .json = &options->json,
          .run = [options] { return run_fit(*options); }};
}

}  // namespace plimsoll::cli
