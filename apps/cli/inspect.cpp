#include <unistd.h>

#include <memory>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/inspect_report.h"
#include "data/model_text.h"
#include "hub/model_source.h"

namespace plimsoll::cli {
namespace {

struct InspectOptions {
  std::string model;
  bool json = false;
};

// A broken tokenizer is no reason not to show the model.
std::optional<TokenizerFacts> tokenizer_facts(const ModelFiles& files) {
  const TextFiles text_files = text_files_of(files);
  if (!text_files.has_tokenizer()) return std::nullopt;
  try {
    const Tokenizer tokenizer = load_model_tokenizer(text_files);
    const SpecialTexts special = special_texts(text_files, &tokenizer);
    return TokenizerFacts{tokenizer.vocab_size(), special.bos, special.eos, !read_chat_template(files).empty()};
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
  if (!files.has_weights) {
    report.stored_bytes = dtype_bytes(report.config.stored_dtype, report.params.total);
    dtypes.insert(dtype_name(report.config.stored_dtype));
  }
  for (const std::string_view name : dtypes)
    report.stored_dtypes += (report.stored_dtypes.empty() ? "" : ", ") + std::string(name);
}

int run_inspect(const InspectOptions& options) {
  const ModelFiles files = open_model_source(options.model, ModelNeed::text);
  InspectReport report;
  report.source = files.path;
  report.config = files.config;
  report.params = count_parameters(list_parameters(files.config));
  report.has_weights = files.has_weights;
  add_stored(report, files);
  report.tokenizer = tokenizer_facts(files);
  if (options.json) write_json(inspect_json(report));
  else write_result(inspect_text(report, inspect_terminal(STDOUT_FILENO)));
  return 0;
}

}  // namespace

Command inspect_command() {
  auto options = std::make_shared<InspectOptions>();
  return {
      .name = "inspect",
      .summary = "architecture, parameters, bytes and tokenizer of a model",
      .examples = {"plimsoll inspect SmolLM2-135M-Instruct.gguf", "plimsoll inspect Llama-3.2-1B/config.json --json"},
      .arguments = {{.name = "MODEL",
                     .value_name = "MODEL",
                     .help = "Hugging Face folder, .gguf file, config.json or hub id",
                     .target = &options->model,
                     .required = true}},
      .json = &options->json,
      .run = [options] { return run_inspect(*options); }};
}

}  // namespace plimsoll::cli
