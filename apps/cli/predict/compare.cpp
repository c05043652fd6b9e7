#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/predict/compare_report.h"
#include "cli/text/output.h"
#include "formats/output_file.h"
#include "formats/text_file.h"

namespace plimsoll::cli {
namespace {

struct CompareOptions {
  std::vector<std::string> files;
  std::string html;
  bool json = false;
};

Json or_null(double value) { return value >= 0 ? Json(value) : Json(nullptr); }

int run_compare(const CompareOptions& options) {
  if (options.files.empty())
    throw caller_error("PLAN.json", "is missing",
                       "plimsoll search MODEL --devices … --json > a.json, then plimsoll compare a.json b.json");
  std::vector<ComparedPlan> plans;
  for (const std::string& file : options.files)
    for (ComparedPlan& plan : parse_compared(read_text_file(file), file)) plans.push_back(std::move(plan));
  if (!options.html.empty()) write_file_atomically(options.html, compare_html(plans));
  if (!options.json) {
    write_page(compare_text(plans));
    return 0;
  }
  Json rows = Json::array();
  for (const ComparedPlan& plan : plans)
    rows.push_back({{"name", plan.name},
                    {"kind", plan.kind},
                    {"what", plan.what},
                    {"devices", plan.devices},
                    {"bytes_per_device", or_null(plan.bytes)},
                    {"device_bytes", or_null(plan.limit_bytes)},
                    {"seconds", or_null(plan.seconds)},
                    {"one_step", plan.one_step},
                    {"tokens_per_second", or_null(plan.tokens_per_second)},
                    {"usd", or_null(plan.usd)},
                    {"usd_per_million", or_null(plan.usd_per_million)}});
  write_json({{"plans", rows}});
  return 0;
}

}  // namespace

Command compare_command() {
  auto options = std::make_shared<CompareOptions>();
  return {.name = "compare",
          .summary = "plans side by side: a table, and a page for readers who are no engineers",
          .examples = {"plimsoll compare eight.json sixteen.json --html report.html",
                       "plimsoll compare search.json --json"},
          .arguments = {{.name = "[PLAN.json]",
                         .value_name = "PLAN.json…",
                         .help = "what plan, search, serve-plan or approaches wrote with --json",
                         .target = &options->files},
                        {.name = "--html",
                         .value_name = "FILE.html",
                         .help = "write the page: one file, no script, nothing fetched",
                         .target = &options->html}},
          .json = &options->json,
          .run = [options] { return run_compare(*options); }};
}

}  // namespace plimsoll::cli
