#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace plimsoll::cli {
namespace {

struct RenderOptions {
  std::string model, messages, tools, documents, now;
  std::vector<std::string> set;
  bool generation_prompt = false;
  bool json = false;
};

int run_render(const RenderOptions& options) {
  throw caller_error(options.model, "render is not available in this build", "use a build that has it");
}

}  // namespace

Command render_command() {
  auto options = std::make_shared<RenderOptions>();
  return {.name = "render",
          .summary = "the text that a chat template makes of messages",
          .examples = {"plimsoll render SmolLM2-135M-Instruct.gguf --messages chat.json --generation-prompt",
                       "plimsoll render model/ --messages chat.json --tools tools.json --set enable_thinking=false --now 2026-01-31T12:00:00 --json"},
          .arguments = {{.name = "MODEL", .value_name = "MODEL", .help = "folder or .gguf file with a chat template", .target = &options->model, .required = true},
                        {.name = "--messages", .value_name = "FILE.json", .help = "a list of messages, or an object with messages; - is stdin", .target = &options->messages, .required = true},
                        {.name = "--generation-prompt", .value_name = "", .help = "end with the opening of the assistant's turn", .target = &options->generation_prompt},
                        {.name = "--tools", .value_name = "FILE.json", .help = "a list of tools for the template", .target = &options->tools},
                        {.name = "--documents", .value_name = "FILE.json", .help = "a list of documents for the template", .target = &options->documents},
                        {.name = "--set", .value_name = "NAME=VALUE", .help = "a further variable, JSON or else text; may be repeated", .target = &options->set},
                        {.name = "--now", .value_name = "TIME", .help = "the time that strftime_now sees: 2026-01-31T12:00:00 or seconds since 1970", .target = &options->now}},
          .json = &options->json,
          .run = [options] { return run_render(*options); }};
}

}  // namespace plimsoll::cli
