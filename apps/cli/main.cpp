// The program: finds the command, runs it, and turns every failure into the contract's two lines and exit code.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <filesystem>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/text/output.h"
#include "cli/text/terminal.h"

namespace plimsoll::cli {
namespace {

constexpr std::string_view kVersion = PLIMSOLL_VERSION;
const std::vector<std::string_view> kGlobals = {"--json", "--help", "--quiet", "--verbose", "--offline"};

std::vector<Command> all_commands() {
  return {inspect_command(),   plan_command(),      fit_command(),        train_command(),      generate_command(),
          chat_command(),      data_command(),      eval_command(),       merge_command(),      quantize_command(),
          tokenize_command(),  tokenizer_command(), new_command(),        render_command(),     probe_command(),
          devices_command(),   search_command(),    serve_plan_command(), approaches_command(), scale_command(),
          calibrate_command(), export_command(),    compare_command(),    validate_command(),   help_recipe_command()};
}

std::string program_help(const std::vector<Command>& commands) {
  std::string page =
      "plimsoll: plan and fine-tune language models inside a byte budget\n\nusage: plimsoll COMMAND [arguments] "
      "[--json]\n\n";
  size_t width = 0;
  for (const Command& command : commands)
    if (!command.hidden) width = std::max(width, command.name.size());
  for (const Command& command : commands)
    if (!command.hidden) page += fmt::format("  {:<{}}  {}\n", command.name, width, command.summary);
  return page +
         "\n  plimsoll COMMAND --help shows the flags of one; plimsoll --version the version.\n"
         "  Exit codes: 0 done, 1 our bug, 2 wrong use or a bad file, 3 does not fit the budget, 4 the system failed.\n"
         "\nExamples\n"
         "  plimsoll plan SmolLM2-135M-Instruct.gguf --memory 1GiB\n"
         "  plimsoll train --model SmolLM2-135M-Instruct.gguf --data train.jsonl --memory 1GiB --out run\n";
}

// What was asked as "no command": --help, --version, or an error.
int run_without_command(const std::vector<std::string>& words, const std::vector<Command>& commands) {
  for (const std::string& word : words) {
    if (word == "--version") {
      write_result(fmt::format("plimsoll {}\n", kVersion));
      return 0;
    }
    if (word == "--help" || word == "-h") {
      write_page(program_help(commands));
      return 0;
    }
  }
  for (const std::string& word : words)
    if (std::find(kGlobals.begin(), kGlobals.end(), word) == kGlobals.end())
      throw caller_error(one_line(word, 80), "no such flag before the command", "plimsoll --help lists the commands");
  throw caller_error("plimsoll", "a command is missing",
                     "plimsoll --help lists the commands; for example: plimsoll inspect MODEL");
}

int run(const std::vector<std::string>& words) {
  const std::vector<Command> commands = all_commands();
  const auto first = std::find_if(words.begin(), words.end(),
                                  [](const std::string& word) { return word.empty() || word.front() != '-'; });
  std::vector<std::string> before(words.begin(), first);
  const bool asks = std::any_of(before.begin(), before.end(), [](const std::string& word) {
    return word == "--version" || std::find(kGlobals.begin(), kGlobals.end(), word) == kGlobals.end();
  });
  if (first == words.end() || asks) return run_without_command(before, commands);

  std::string name = *first;
  std::vector<std::string> rest(first + 1, words.end());
  rest.insert(rest.begin(), before.begin(), before.end());
  if (name == "help") {  // `plimsoll help train`
    if (rest.empty()) return run_without_command({"--help"}, commands);
    name = rest.front();
    rest = {"--help"};
  }
  const auto command =
      std::find_if(commands.begin(), commands.end(), [&](const Command& candidate) { return candidate.name == name; });
  if (command == commands.end()) {
    std::vector<std::string_view> names;
    for (const Command& candidate : commands)
      if (!candidate.hidden) names.push_back(candidate.name);
    const std::string_view near = nearest_name(name, names);
    throw caller_error(
        one_line(name, 80), "no such command",
        near.empty() ? "plimsoll --help lists the commands" : fmt::format("did you mean plimsoll {}?", near));
  }
  if (parse_arguments(*command, rest, kGlobals) == Parsed::show_help) {
    write_page(command_help(*command, inspect_terminal(STDOUT_FILENO).width));
    return 0;
  }
  return command->run();
}

int report(ErrorKind kind, std::string_view thing, std::string_view problem, std::string_view way_out) {
  write_stderr(fmt::format("plimsoll: error: {}: {}\n  try: {}\n", thing.empty() ? "''" : one_line(thing),
                           one_line(problem, 1000), one_line(way_out, 1000)));
  return static_cast<int>(kind);
}

// Runs `body` and turns what it throws into two lines on stderr and the exit code.
template <typename Body>
int run_main(Body&& body) {
  try {
    return body();
  } catch (const Error& error) {
    return report(error.kind(), error.thing(), error.problem(), error.way_out());
  } catch (const std::bad_alloc&) {
    return report(ErrorKind::world, "memory", "the system gives no more of it",
                  "close other programs, or give a smaller --memory");
  } catch (const std::filesystem::filesystem_error& error) {
    return report(ErrorKind::world, error.path1().string(), error.code().message(),
                  "check the path, its permissions and the disk");
  } catch (const std::exception& error) {
    return report(ErrorKind::internal, "plimsoll", error.what(), "please report this line, it is a bug in Plimsoll");
  } catch (...) {
    return report(ErrorKind::internal, "plimsoll", "an unknown failure",
                  "please report this line, it is a bug in Plimsoll");
  }
}

// A closed stdin, stdout or stderr must not become the next file that is opened: results would be written into it.
void hold_standard_files() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor)
    if (fcntl(descriptor, F_GETFD) == -1 && open("/dev/null", descriptor == 2 ? O_WRONLY : O_RDONLY) == -1) _exit(4);
}

}  // namespace
}  // namespace plimsoll::cli

int main(int argc, char** argv) {
  using namespace plimsoll::cli;
  hold_standard_files();
  std::signal(SIGPIPE, SIG_IGN);  // a reader that went away is an error of the write
  std::signal(SIGXFSZ, SIG_IGN);  // and so is a file that may not grow
  return run_main([&] { return run(std::vector<std::string>(argv + std::min(argc, 1), argv + argc)); });
}
