#include <fmt/format.h>

#include <algorithm>
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

// One row a summary that `takes` likes; the first cell is short enough for the others to stand beside it.
template <typename Takes, typename Name>
std::string summary_table(const std::vector<ErrorSummary>& summaries, std::string_view first, Takes takes, Name name) {
  constexpr size_t kNameColumns = 26;
  const std::vector<Column> columns = {
      {std::string(first), true}, {"used"}, {"not"}, {"median"}, {"p90"}, {"p95"}, {"worst"}, {"inside"}};
  std::vector<std::vector<std::string>> rows;
  for (const ErrorSummary& s : summaries) {
    if (!takes(s)) continue;
    rows.push_back({fit_columns(name(s), kNameColumns), format_thousands(s.used), format_thousands(s.left_out)});
    if (s.used == 0) continue;
    rows.back().insert(rows.back().end(),
                       {percent(s.median), percent(s.p90), percent(s.p95), percent(s.worst),
                        fmt::format("{:.0f} %", 100.0 * static_cast<double>(s.inside) / static_cast<double>(s.used))});
  }
  return table_text(columns, rows, 0);
}

std::string summary_text(const std::vector<ErrorSummary>& summaries) {
  std::string text = summary_table(
      summaries, "all sources", [](const ErrorSummary& s) { return s.source.empty(); },
      [](const ErrorSummary& s) { return s.quantity; });
  std::string reasons;
  for (const ErrorSummary& overall : summaries) {
    if (!overall.source.empty()) continue;
    text += "\n" + summary_table(
                       summaries, overall.quantity,
                       [&](const ErrorSummary& s) { return !s.source.empty() && s.quantity == overall.quantity; },
                       [](const ErrorSummary& s) { return s.source; });
    for (const auto& [reason, count] : overall.reasons)
      reasons +=
          fmt::format("  {}, {} row{}: {}\n", overall.quantity, format_thousands(count), count == 1 ? "" : "s", reason);
  }
  return reasons.empty() ? text : text + "\nnot used, and why (all sources)\n" + reasons;
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
  std::vector<ValidatedFigure> figures = validate_rows(asked, make_time_model());
  if (!options.out.empty()) write_file_atomically(options.out, validation_csv(figures));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.json) {
    write_json(summary_json(summarize(figures), seconds));
  } else {
    // For people a source is the repository or paper; --json goes down to the page.
    for (ValidatedFigure& figure : figures)
      figure.source.resize(std::min(figure.source.size(), figure.source.find(' ')));
    const auto bare =
        std::count_if(rows.begin(), rows.end(), [](const MeasuredRow& row) { return row.figures.empty(); });
    write_page(summary_text(summarize(figures)) +
               fmt::format("\n{} rows in {:.1f} s{}\n", format_thousands(static_cast<int64_t>(rows.size())), seconds,
                           bare > 0 ? fmt::format(", {} of them without a measured figure", bare) : ""));
  }
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
