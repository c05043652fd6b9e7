#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/inspect/explain.h"
#include "cli/inspect/inspect_report.h"
#include "config/model_catalog.h"
#include "data/model_text.h"
#include "hub/model_source.h"

namespace plimsoll::cli {
namespace {

struct InspectOptions {
  std::string model;
  bool list = false, explain = false;
  bool json = false;
};

// A broken tokenizer is no reason not to show the model.
std::optional<TokenizerFacts> tokenizer_facts(const ModelFiles& files) {
  const TextFiles text_files = text_files_of(files);
  if (!text_files.has_tokenizer()) return std::nullopt;
  try {
    const Tokenizer tokenizer = load_model_tokenizer(text_files);
    const SpecialTexts special = special_texts(text_files, &tokenizer);
    return TokenizerFacts{tokenizer.vocab_size(), special.bos, special.eos, find_chat_template(text_files).has_value()};
  } catch (const Error& error) {
    log_warning(one_line(std::string("the tokenizer cannot be read: ") + error.what()));
    return std::nullopt;
  }
}

void add_stored(InspectReport& report, const ModelFiles& files) {
  std::set<std::string_view> dtypes;
  for (const TensorEntry& entry : files.tensors.entries) {
    report.stored_bytes += entry.bytes;
    dtypes.insert(dtype_name(entry.dtype));
  }
  if (!files.has_weights && !report.from_catalog) {
    report.stored_bytes = dtype_bytes(report.config.stored_dtype, report.params.total);
    dtypes.insert(dtype_name(report.config.stored_dtype));
  }
  for (const std::string_view name : dtypes)
    report.stored_dtypes += (report.stored_dtypes.empty() ? "" : ", ") + std::string(name);
}

// Every name of the catalogue.
int list_catalog(bool json) {
  Json models = Json::array();
  std::string text;
  for (const CatalogModel& model : catalog_models()) {
    const ModelConfig config = parse_hf_config(model.config, model.name);
    const int64_t total = count_parameters(list_parameters(config)).total;
    text += fmt::format("{:<20}{:<14}{:>20}\n", model.name, config.architecture, format_thousands(total));
    models.push_back({{"name", model.name}, {"architecture", config.architecture}, {"total", total}});
  }
  if (json) write_json({{"models", models}});
  else write_page(text);
  return 0;
}

int run_inspect(const InspectOptions& options) {
  if (options.list) {
    if (options.explain || !options.model.empty())
      throw caller_error("--list", "shows the whole catalogue", "give it alone, or a MODEL without it");
    return list_catalog(options.json);
  }
  if (options.model.empty())
    throw caller_error("MODEL", "is missing",
                       "give a path, org/name or a name; plimsoll inspect --list shows the names");
  const ModelFiles files = open_model_source(options.model, ModelNeed::text);
  InspectReport report;
  report.source = files.path;
  report.config = files.config;
  const std::vector<ParameterSpec> parameters = list_parameters(files.config);
  report.params = count_parameters(parameters);
  report.has_weights = files.has_weights;
  report.from_catalog = files.kind == ModelFiles::Kind::config_only && find_catalog_model(files.path) != nullptr;
  add_stored(report, files);
  report.tokenizer = tokenizer_facts(files);
  if (options.json) {
    Json document = inspect_json(report);
    if (options.explain) document["explanation"] = explain_json(files.config, parameters);
    write_json(document);
  } else if (options.explain) {
    write_page(explain_text(files.path, files.config, parameters, report.params));
  } else {
    write_page(inspect_text(report, inspect_terminal(STDOUT_FILENO)));
  }
  return 0;
}

}  // namespace

Command inspect_command() {
  auto options = std::make_shared<InspectOptions>();
  return {.name = "inspect",
          .summary = "architecture, parameters, bytes and tokenizer of a model",
          .examples = {"plimsoll inspect SmolLM2-135M-Instruct.gguf", "plimsoll inspect llama-3.1-405b --explain"},
          .arguments = {{.name = "[MODEL]",
                         .value_name = "MODEL",
                         .help = "folder, .gguf file, config.json, hub id org/name, or a name of the catalogue",
                         .target = &options->model},
                        {.name = "--explain",
                         .value_name = "",
                         .help = "how the parameters are counted, formula by formula",
                         .target = &options->explain},
                        {.name = "--list",
                         .value_name = "",
                         .help = "the names of the catalogue, with their families and counts",
                         .target = &options->list}},
          .json = &options->json,
          .run = [options] { return run_inspect(*options); }};
}

}  // namespace plimsoll::cli
