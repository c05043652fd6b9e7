#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "base/csv.h"
#include "base/error.h"
#include "base/table.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/text/output.h"
#include "cli/text/terminal.h"
#include "engines/measured/row_time.h"
#include "engines/measured/validation.h"
#include "formats/output_file.h"

namespace plimsoll::cli {
namespace {

struct ValidateOptions {
  std::string file, out;
  bool json = false, time_only = false;
};

std::string percent(double share) { return fmt::format("{:.2f} %", 100 * share); }

std::string summary_text(const std::vector<ErrorSummary>& summaries) {
  const std::vector<Column> columns = {
      {"quantity,\nsource", true}, {"used"}, {"not"}, {"median"}, {"p90"}, {"p95"}, {"worst"}, {"inside"},
      {"worst row", true}};
  std::vector<std::vector<std::string>> rows;
  for (const bool overall : {true, false})
    for (const ErrorSummary& s : summaries) {
      if (s.source.empty() != overall) continue;
      rows.push_back(
          {overall ? s.quantity + ", all" : fit_columns(fmt::format("{}, {}", s.quantity, s.source), kTableColumns),
           format_thousands(s.used), format_thousands(s.left_out)});
      if (s.used == 0) rows.back().insert(rows.back().end(), 6, "");
      else
        rows.back().insert(
            rows.back().end(),
            {percent(s.median), percent(s.p90), percent(s.p95), percent(s.worst),
             fmt::format("{:.0f} %", 100.0 * static_cast<double>(s.inside) / static_cast<double>(s.used)), s.worst_id});
    }
  std::string text = table_text(columns, rows, 0);
  text += "\nnot used, and why (all sources)\n";
  for (const ErrorSummary& s : summaries) {
    if (!s.source.empty()) continue;
    for (const auto& [reason, count] : s.reasons)
      text += fmt::format("  {}, {} row{}: {}\n", s.quantity, format_thousands(count), count == 1 ? "" : "s", reason);
  }
  return text;
}

Json summary_json(const std::vector<ErrorSummary>& summaries, double seconds) {
  Json all = Json::array();
  for (const ErrorSummary& s : summaries) {
    Json reasons = Json::array();
    for (const auto& [reason, count] : s.reasons) reasons.push_back({{"reason", reason}, {"rows", count}});
    all.push_back({{"quantity", s.quantity},
                   {"source", s.source.empty() ? Json(nullptr) : Json(s.source)},
                   {"used", s.used},
                   {"not_used", s.left_out},
                   {"median", s.median},
                   {"p90", s.p90},
                   {"p95", s.p95},
                   {"worst", s.worst},
                   {"worst_id", s.worst_id},
                   {"inside_interval", s.inside},
                   {"reasons", reasons}});
  }
  return {{"summaries", all}, {"seconds", seconds}};
}

int run_validate(const ValidateOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const size_t slash = options.file.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : options.file.substr(0, slash);
  const std::vector<MeasuredRow> rows = read_measured_rows(read_csv(options.file), folder, options.file);
  std::vector<MeasuredRow> asked = rows;
  if (options.time_only)
    for (MeasuredRow& row : asked)
      std::erase_if(row.figures, [](const MeasuredFigure& each) {
        return each.quantity != "step_seconds" && each.quantity != "tokens_per_second";
      });
  const std::vector<ValidatedFigure> figures = validate_rows(asked, make_time_model());
  if (!options.out.empty()) write_file_atomically(options.out, validation_csv(figures));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::vector<ErrorSummary> summaries = summarize(figures);
  if (options.json) write_json(summary_json(summaries, seconds));
  else write_page(summary_text(summaries) + fmt::format("\n{} rows in {:.1f} s\n", rows.size(), seconds));
  return 0;
}

}  // namespace

Command validate_command() {
  auto options = std::make_shared<ValidateOptions>();
  return {.name = "validate",
          .summary = "predictions for other engines beside measured runs",
          .examples = {"plimsoll validate torch_peak.csv", "plimsoll validate published.csv --out rows.csv"},
          .arguments = {{.name = "FILE.csv",
                         .value_name = "FILE.csv",
                         .help = "measured runs, with the columns that docs/engines.md lists",
                         .target = &options->file,
                         .required = true},
                        {.name = "--out",
                         .value_name = "ROWS.csv",
                         .help = "write one row a figure: id, quantity, measured, predicted, low, high, used, reason",
                         .target = &options->out},
                        {.name = "--time-only",
                         .value_name = "",
                         .help = "only steps and rates, not bytes, which take longer",
                         .target = &options->time_only}},
          .json = &options->json,
          .run = [options] { return run_validate(*options); }};
}

}  // namespace plimsoll::cli
