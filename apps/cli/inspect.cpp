#include <unistd.h>

#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/inspect_report.h"

namespace plimsoll::cli {
namespace {

struct InspectOptions {
  std::string model;
  bool json = false;
};

int run_inspect(const InspectOptions& options) {
  throw caller_error(options.model, "inspect is not available in this build", "use a build that has it");
}

}  // namespace

Command inspect_command() {
  auto options = std::make_shared<InspectOptions>();
  return {.name = "inspect",
          .summary = "architecture, parameters, bytes and tokenizer of a model",
          .examples = {"plimsoll inspect SmolLM2-135M-Instruct.gguf", "plimsoll inspect Llama-3.2-1B/config.json --json"},
          .arguments = {{.name = "MODEL", .value_name = "MODEL", .help = "Hugging Face folder, .gguf file, config.json or hub id", .target = &options->model, .required = true}},
          .json = &options->json,
          .run = [options] { return run_inspect(*options); }};
}

}  // namespace plimsoll::cli
