#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/generation_options.h"
#include "cli/input/chat_input.h"
#include "cli/input/interrupt.h"
#include "cli/text/output.h"
#include "cli/text/terminal.h"
#include "formats/output_file.h"
#include "formats/text_file.h"
#include "generate/generator.h"

namespace plimsoll::cli {
namespace {

struct ChatOptions {
  GenerationOptions shared;
  std::string system;
  bool json = false;
};

constexpr std::string_view kHelp =
    "/reset       forget the conversation\n"
    "/save FILE   write it as a line of JSON, {\"messages\": …}: what render and train read\n"
    "/help        this list\n"
    "/quit        leave, as Ctrl-D does\n"
    "Ctrl-C stops an answer; at the prompt it drops the line, and twice it leaves. A line that begins with a blank is\n"
    "never a command.";

class Conversation {
 public:
  explicit Conversation(const ChatOptions& options)
      : options_(options),
        person_(inspect_terminal(STDIN_FILENO).is_terminal),
        generator_(options.shared.generator()),
        sampling_(options.shared.resolved(generator_.defaults())) {
    reset();
  }

  int run() {
    if (person_) interrupt_.emplace();
    if (person_) generator_.set_interrupt([this] { return interrupt_->is_set(); });
    const std::unique_ptr<ChatInput> input = person_ ? open_terminal_input("> ") : open_piped_input();
    if (person_) log_note("write a line and press Enter; /help lists the commands, Ctrl-D leaves");
    bool warned = false;
    for (std::string line;;) {
      const ChatInput::Event event = input->next(line);
      if (event == ChatInput::Event::end) return 0;
      if (event == ChatInput::Event::interrupt) {
        if (warned) return 0;
        warned = true;
        log_note("Ctrl-C once more leaves");
        continue;
      }
      warned = false;
      if (line.find_first_not_of(" \t") == std::string::npos) continue;
      if (line.front() != '/') answer(line);
      else if (!obey(line)) return 0;
    }
  }

 private:
  void reset() {
    messages_.clear();
    if (!options_.system.empty()) messages_.push_back({"system", options_.system});
  }

  // False: the conversation is over.
  bool obey(const std::string& line) {
    const size_t blank = line.find_first_of(" \t");
    const std::string command = line.substr(0, blank);
    const size_t begin = blank == std::string::npos ? blank : line.find_first_not_of(" \t", blank);
    const std::string argument = begin == std::string::npos ? "" : line.substr(begin);
    if (command == "/quit") return false;
    if (command == "/reset") {
      reset();
      log_note("the conversation is forgotten");
    } else if (command == "/help") {
      log_note(std::string(kHelp));
    } else if (command == "/save") {
      recoverably([&] { save(argument); });
    } else {
      recoverably([&] {
        throw caller_error(one_line(command, 40), "is no command of the chat",
                           "/help lists them; begin the line with a blank to say it to the model");
      });
    }
    return true;
  }

  // Again to the same file, but not over one that the conversation has not written.
  void save(const std::string& file) {
    if (file.empty()) throw caller_error("/save", "a file name is missing", "for example /save chat.jsonl");
    if (file_exists(file) && !saved_.contains(file))
      throw caller_error("/save", fmt::format("'{}' is there already", one_line(file, 200)), "give another name");
    Json json;
    json["messages"] = Json::array();
    for (const auto& [role, content] : messages_) json["messages"].push_back({{"role", role}, {"content", content}});
    write_file_atomically(file, json.dump() + "\n");
    saved_.insert(file);
    log_note(fmt::format("{} messages written to {}", messages_.size(), one_line(file)));
  }

  void answer(const std::string& line) {
    recoverably([&] {
      if (!is_valid_utf8(line)) throw caller_error("the line", "is not valid UTF-8", "write text in UTF-8");
      messages_.push_back({"user", line});
      const size_t asked = messages_.size();
      try {
        reply();
      } catch (const Error& error) {
        messages_.resize(asked - 1);
        if (error.thing() != Generator::kPrompt || asked < 3) throw;
        throw caller_error("the conversation", error.problem(), "/reset forgets it; or say it in fewer words");
      } catch (...) {
        messages_.resize(asked - 1);
        throw;
      }
    });
  }

  void reply() {
    if (interrupt_) interrupt_->clear();
    const OnText print = options_.json ? OnText() : OnText([](std::string_view piece) { write_result(piece); });
    const GenerateReport report = generator_.reply(messages_, sampling_, print);
    if (options_.json) write_json_line(generate_json(report));
    else write_result("\n");
    if (report.text.empty() && report.finish == Finish::interrupted) messages_.pop_back();
    else messages_.push_back({"assistant", report.text});
    if (report.finish == Finish::interrupted) log_note("stopped");
    if (report.finish == Finish::max_tokens && person_)
      log_note(fmt::format("cut after {} tokens; --max-tokens allows more", report.generated_tokens));
  }

  // What goes wrong with one line ends a script, but not a person's conversation.
  template <typename Action>
  void recoverably(Action&& action) {
    try {
      action();
    } catch (const Error& error) {
      if (!person_ || error.kind() == ErrorKind::internal) throw;
      log_warning(fmt::format("{}: {}; try: {}", one_line(error.thing()), one_line(error.problem()),
                              one_line(error.way_out())));
    }
  }

  const ChatOptions& options_;
  bool person_;
  Generator generator_;
  SamplingOptions sampling_;
  std::optional<InterruptFlag> interrupt_;
  std::vector<ChatMessage> messages_;
  std::set<std::string> saved_;
};

}  // namespace

Command chat_command() {
  auto options = std::make_shared<ChatOptions>();
  Command command{
      .name = "chat",
      .summary = "a conversation in the terminal, or one line of stdin a turn",
      .examples = {"plimsoll chat SmolLM2-135M-Instruct.gguf --temperature 0.7 --top-p 0.9",
                   "echo \"What is CWE-79?\" | plimsoll chat SmolLM2-135M-Instruct.gguf --adapter run/adapter --json"},
      .arguments = generation_arguments(options->shared),
      .json = &options->json,
      .run = [options] { return Conversation(*options).run(); }};
  command.arguments.push_back({.name = "--system",
                               .value_name = "TEXT",
                               .help = "first message, from the system",
                               .target = &options->system,
                               .may_be_empty = true});
  return command;
}

}  // namespace plimsoll::cli
