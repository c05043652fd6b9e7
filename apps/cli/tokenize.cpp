#include <memory>
#include <optional>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace plimsoll::cli {
namespace {

struct TokenizeOptions {
  std::string model;
  std::optional<std::string> text, file;
  bool no_special = false;
  bool json = false;
};

int run_tokenize(const TokenizeOptions& options) {
  throw caller_error(options.model, "tokenize is not available in this build", "use a build that has it");
}

}  // namespace

Command tokenize_command() {
  auto options = std::make_shared<TokenizeOptions>();
  return {.name = "tokenize",
          .summary = "token ids of texts",
          .examples = {"plimsoll tokenize SmolLM2-135M-Instruct.gguf --text \"Hello, world\"",
                       "plimsoll tokenize model/ --file texts.jsonl --no-special"},
          .arguments = {{.name = "MODEL", .value_name = "MODEL", .help = "folder with a tokenizer.json, a tokenizer.json, or a .gguf file", .target = &options->model, .required = true},
                        {.name = "--text", .value_name = "TEXT", .help = "the text", .target = &options->text},
                        {.name = "--file", .value_name = "FILE.jsonl", .help = "a line {\"text\": …} each; gives a line {\"ids\": […], \"decoded\": …} each; - is stdin", .target = &options->file},
                        {.name = "--no-special", .value_name = "", .help = "without the tokens that the tokenizer adds at the ends", .target = &options->no_special}},
          .json = &options->json,
          .run = [options] { return run_tokenize(*options); }};
}

}  // namespace plimsoll::cli
