#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "cli/arguments/arguments.h"

namespace plimsoll::cli {
namespace {

constexpr size_t kHelpColumn = 34;

// Columns that UTF-8 text takes; every character that the help uses is one column wide.
size_t columns(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
  return count;
}

void add_row(std::string& page, size_t width, const std::string& left, std::string_view help) {
  std::string line = "  " + left;
  if (columns(line) + 2 > kHelpColumn) {
    page += line + "\n";
    line.clear();
  }
  line.append(kHelpColumn - columns(line), ' ');
  size_t used = kHelpColumn;
  while (!help.empty()) {
    const std::string_view word = help.substr(0, help.find(' '));
    help.remove_prefix(std::min(help.size(), word.size() + 1));
    if (used > kHelpColumn && used + columns(word) > width) {
      line.pop_back();  // the space after the last word
      page += line + "\n";
      line.assign(kHelpColumn, ' ');
      used = kHelpColumn;
    }
    line += word;
    used += columns(word);
    if (!help.empty()) line += ' ', ++used;
  }
  page += line + "\n";
}

std::string left_of(std::string_view name, std::string_view value_name) {
  return value_name.empty() ? std::string(name) : fmt::format("{} {}", name, value_name);
}

// `--offline` is heard by every command, and means something where a model is opened.
bool takes_model(const Command& command) {
  return command.recipe_flags != nullptr ||
         std::any_of(command.arguments.begin(), command.arguments.end(),
                     [](const Argument& argument) { return argument.value_name.starts_with("MODEL"); });
}

}  // namespace

std::string command_help(const Command& command, int terminal_width) {
  const auto width = static_cast<size_t>(std::clamp(terminal_width, 60, 110));
  std::string page = fmt::format("plimsoll {}: {}\n\nusage: plimsoll {}", command.name, command.summary, command.name);
  for (const Argument& argument : command.arguments)
    if (argument.name.front() != '-') page += fmt::format(" {}", argument.name);
  for (const Argument& argument : command.arguments)
    if (argument.name.front() == '-' && argument.required)
      page += fmt::format(" {}", left_of(argument.name, argument.value_name));
  page += command.recipe_flags != nullptr ? " [recipe] [flags]\n\n" : " [flags]\n\n";
  for (const Argument& argument : command.arguments)
    add_row(page, width,
            argument.name.front() == '-' ? left_of(argument.name, argument.value_name) : std::string(argument.name),
            argument.help);
  if (command.json != nullptr) add_row(page, width, "--json", "one JSON document on stdout");
  add_row(page, width, "--quiet, --verbose", "fewer or more notes on stderr");
  if (takes_model(command)) add_row(page, width, "--offline", "fetch nothing from the hub");
  add_row(page, width, "-h, --help", "this page");
  if (command.recipe_flags != nullptr) {
    const Recipe defaults;
    std::string_view group;
    for (const RecipeField& field : recipe_fields()) {
      if (field.group != group) {
        group = field.group;
        page += fmt::format("\nRecipe: {}\n", group);
      }
      const std::string value = field.kind == FieldKind::flag ? "" : field_text(field, field.get(defaults));
      add_row(page, width, left_of(fmt::format("--{}", field.name), field.value_name),
              value.empty() ? std::string(field.help) : fmt::format("{} [{}]", field.help, value));
    }
  }
  page += "\nExamples\n";
  for (const std::string_view example : command.examples) page += fmt::format("  {}\n", example);
  return page;
}

}  // namespace plimsoll::cli
