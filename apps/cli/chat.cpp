#include <unistd.h>

#include <iostream>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/generation_options.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "train/generate.h"

namespace plimsoll::cli {
namespace {

struct ChatOptions {
  GenerationOptions shared;
  std::string system;
  bool json = false;
};

// One reply a line of stdin, until its end. "/new" forgets the conversation.
int run_chat(const ChatOptions& options) {
  Generator generator(options.shared.model, options.shared.adapter, options.shared.threads, options.shared.dtype());
  const bool person = inspect_terminal(STDIN_FILENO).is_terminal;
  std::vector<ChatMessage> conversation;
  const auto begin = [&] {
    conversation.clear();
    if (!options.system.empty()) conversation.push_back({"system", options.system});
  };
  begin();
  if (person) log_note("write a line and press Enter; /new begins again, Ctrl-D ends");
  std::string line;
  while (true) {
    if (person && !options.json) write_result("> ");
    if (!std::getline(std::cin, line)) break;
    if (line.empty()) continue;
    if (line == "/new") {
      begin();
      continue;
    }
    if (!is_valid_utf8(line)) throw caller_error("stdin", "a line is not valid UTF-8", "write text in UTF-8");
    conversation.push_back({"user", line});
    const OnText print = options.json ? OnText() : OnText([](std::string_view piece) { write_result(piece); });
    const GenerateReport report = generator.reply(conversation, options.shared.sampling, print);
    if (options.json) write_json_line(generate_json(report));
    else write_result("\n");
    conversation.push_back({"assistant", report.text});
  }
  if (person && !options.json) write_result("\n");
  return 0;
}

}  // namespace

Command chat_command() {
  auto options = std::make_shared<ChatOptions>();
  Command command{
      .name = "chat",
      .summary = "a conversation, one line of stdin a turn",
      .examples = {"plimsoll chat SmolLM2-135M-Instruct.gguf",
                   "echo \"What is CWE-79?\" | plimsoll chat SmolLM2-135M-Instruct.gguf --adapter run/adapter --json"},
      .arguments = generation_arguments(options->shared),
      .json = &options->json,
      .run = [options] { return run_chat(*options); }};
  command.arguments.push_back(
      {.name = "--system", .value_name = "TEXT", .help = "first message, from the system", .target = &options->system});
  return command;
}

}  // namespace plimsoll::cli
