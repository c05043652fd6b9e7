#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "cli/arguments/result_target.h"
#include "cli/commands.h"
#include "cli/text/output.h"
#include "config/model_catalog.h"
#include "formats/output_file.h"
#include "formats/text_file.h"
#include "handover/handover.h"
#include "hub/model_source.h"

namespace plimsoll::cli {
namespace {

struct ExportOptions {
  std::string plan, to, out;
  int64_t devices = 0;
  bool json = false;
};

// A plan may have come from elsewhere, with a model that is not here: then only its layout is handed over.
std::optional<ModelConfig> shape_of_model(const std::string& model) {
  if (find_catalog_model(model) == nullptr && !std::filesystem::exists(model)) return std::nullopt;
  return open_model_source(model, ModelNeed::config).config;
}

int run_export(const ExportOptions& options) {
  HandoverPlan plan = parse_search_plan(read_text_file(options.plan), options.plan, options.devices);
  plan.config = shape_of_model(plan.model);
  const std::string text = handover_config(plan, options.to);
  const std::vector<std::string> notes = handover_notes(plan, options.to);
  const bool to_file = !options.out.empty() && options.out != "-";
  if (to_file) {
    require_no_result(options.out);
    write_file_atomically(options.out, text);
  }
  if (options.json)
    write_json({{"to", options.to},
                {"devices", plan.devices()},
                {"output", to_file ? Json(options.out) : Json(nullptr)},
                {"notes", notes},
                {"config", text}});
  else write_result(to_file ? options.out + "\n" : text);
  for (const std::string& note : notes) log_warning(note);
  return 0;
}

}  // namespace

Command export_command() {
  static const std::string kNames = [] {
    std::string names;
    for (const HandoverTarget& target : handover_targets())
      names += (names.empty() ? "" : "|") + std::string(target.name);
    return names;
  }();
  auto options = std::make_shared<ExportOptions>();
  return {.name = "export",
          .summary = "a plan of search as the configuration of an existing engine",
          .examples = {"plimsoll export plan.json --to megatron",
                       "plimsoll export plan.json --to axolotl --devices 8 --out axolotl.yaml"},
          .arguments =
              {{.name = "PLAN.json",
                .value_name = "PLAN.json",
                .help = "what search --json wrote",
                .target = &options->plan,
                .required = true},
               {.name = "--to", .value_name = kNames, .help = "the engine", .target = &options->to, .required = true},
               {.name = "--devices",
                .value_name = "N",
                .help = "the plan on so many devices [the fastest of the front]",
                .target = &options->devices,
                .min = 1,
                .max = 1 << 16},
               {.name = "--out",
                .value_name = "FILE",
                .help = "must not be there yet; - and nothing: to stdout",
                .target = &options->out}},
          .json = &options->json,
          .run = [options] { return run_export(*options); }};
}

}  // namespace plimsoll::cli
