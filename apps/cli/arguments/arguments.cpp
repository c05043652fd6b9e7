#include "cli/arguments/arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "hub/hub_environment.h"

namespace plimsoll::cli {
namespace {

bool is_flag(std::string_view name) { return name.substr(0, 2) == "--"; }

std::string_view bare_name(std::string_view name) {
  if (!name.empty() && name.front() == '[') name = name.substr(1, name.size() - 2);
  return name;
}

bool takes_rest(const Argument& argument) { return argument.value_name.find("…") != std::string_view::npos; }

std::string see_help(const Command& command) { return fmt::format("plimsoll {} --help lists the flags", command.name); }

std::string usage_of(const Argument& argument) {
  return argument.value_name.empty() ? std::string(argument.name)
                                     : fmt::format("{} {}", argument.name, argument.value_name);
}

// `--betas 0.9 0.95` is one value for us.
void join_pairs(const Command& command, std::vector<std::string>& arguments) {
  if (command.recipe_flags == nullptr) return;
  for (const RecipeField& field : recipe_fields()) {
    if (field.kind != FieldKind::pair) continue;
    const auto found = std::find(arguments.begin(), arguments.end(), fmt::format("--{}", field.name));
    if (arguments.end() - found < 3 || !parse_number(*(found + 1)) || !parse_number(*(found + 2))) continue;
    *(found + 1) += "," + *(found + 2);
    arguments.erase(found + 2);
  }
}

template <typename Number>
Number number_in_range(const Argument& argument, const std::string& text, std::optional<Number> value) {
  const bool whole = std::is_same_v<Number, int64_t>;
  if (!value)
    throw caller_error(std::string(argument.name),
                       fmt::format("'{}' is not a {}number", one_line(text, 80), whole ? "whole " : ""),
                       fmt::format("write it like {}", usage_of(argument)));
  const auto number = static_cast<double>(*value);
  if (!(number >= argument.min && number <= argument.max))
    throw caller_error(std::string(argument.name), fmt::format("{} is out of range", text),
                       argument.max > 1e15 ? fmt::format("give {} or more", argument.min)
                                           : fmt::format("give {} to {}", argument.min, argument.max));
  return *value;
}

bool switch_value(std::string_view name, const std::vector<std::string>& texts) {
  const std::string text = texts.empty() ? "true" : texts.back();
  if (text == "true" || text == "on" || text == "1") return true;
  if (text == "false" || text == "off" || text == "0") return false;
  throw caller_error(std::string(name), fmt::format("'{}' is not on or off", one_line(text, 80)),
                     fmt::format("write {0} or {0}=off", name));
}

void fill(const Argument& argument, const std::vector<std::string>& texts) {
  const std::string last = texts.empty() ? "" : texts.back();
  if (!argument.value_name.empty() && !argument.may_be_empty)
    for (const std::string& text : texts)
      if (text.empty())
        throw caller_error(std::string(bare_name(argument.name)), "is empty", "give it a value, or leave it out");
  std::visit(
      [&](auto* target) {
        using Target = std::remove_pointer_t<decltype(target)>;
        if constexpr (std::is_same_v<Target, bool>) *target = switch_value(argument.name, texts);
        else if constexpr (std::is_same_v<Target, int64_t>)
          *target = number_in_range(argument, last, parse_integer(last));
        else if constexpr (std::is_same_v<Target, double>)
          *target = number_in_range(argument, last, parse_number(last));
        else if constexpr (std::is_same_v<Target, std::vector<std::string>>) *target = texts;
        else *target = last;
      },
      argument.target);
}

// What other trainers and runners call a flag of ours; `_` counts as `-`.
constexpr std::pair<std::string_view, std::string_view> kOtherNames[] = {
    {"learning-rate", "lr"},
    {"per-device-train-batch-size", "micro-batch"},
    {"batch-size", "micro-batch"},
    {"gradient-accumulation-steps", "global-batch"},
    {"gradient-checkpointing", "recompute"},
    {"lora-r", "rank"},
    {"lora-alpha", "alpha"},
    {"target-modules", "targets"},
    {"max-seq-length", "seq-len"},
    {"max-length", "seq-len"},
    {"num-train-epochs", "epochs"},
    {"max-steps", "steps"},
    {"max-grad-norm", "grad-clip"},
    {"output-dir", "out"},
    {"model-name-or-path", "model"},
    {"n-predict", "max-tokens"},
    {"lora", "adapter"},
    {"loraplus-lr-ratio", "lora-plus-ratio"},
    {"use-dora", "method"},
    {"optim", "optimizer"},
    {"fp16", "precision"},
    {"bf16", "precision"},
};

Error unknown_argument(const Command& command, const std::string& given, const std::vector<std::string_view>& globals) {
  if (given.size() < 2 || given.front() != '-')
    return caller_error(one_line(given, 80), fmt::format("one argument more than plimsoll {} takes", command.name),
                        see_help(command));
  std::vector<std::string> names(globals.begin(), globals.end());
  for (const Argument& argument : command.arguments)
    if (is_flag(argument.name)) names.emplace_back(argument.name);
  if (command.recipe_flags != nullptr)
    for (const RecipeField& field : recipe_fields()) names.push_back(fmt::format("--{}", field.name));
  std::vector<std::string_view> bare;
  for (const std::string& name : names) bare.push_back(std::string_view(name).substr(2));
  const std::string flag = given.substr(0, given.find('='));
  std::string name = flag.substr(std::min(flag.find_first_not_of('-'), flag.size()));
  std::replace(name.begin(), name.end(), '_', '-');
  std::string_view near = nearest_name(name, bare);
  for (const auto& [theirs, ours] : kOtherNames)
    if (name == theirs && std::find(bare.begin(), bare.end(), ours) != bare.end()) near = ours;
  return caller_error(one_line(flag, 80), fmt::format("plimsoll {} has no such flag", command.name),
                      near.empty() ? see_help(command) : fmt::format("did you mean --{}?", near));
}

// CLI11's errors start with the option's name: "--rank: 1 required INT missing".
Error from_parser(const Command& command, const CLI::ParseError& error) {
  const std::string what = one_line(error.what());
  const size_t colon = what.find(": ");
  if (colon == std::string::npos)
    return caller_error(fmt::format("plimsoll {}", command.name), what, see_help(command));
  const std::string name = what.substr(0, colon);
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) == nullptr)
    return caller_error(name, what.substr(colon + 2), see_help(command));
  std::string way_out = see_help(command);
  for (const Argument& argument : command.arguments)
    if (argument.name == name) way_out = fmt::format("write it like {}", usage_of(argument));
  if (const RecipeField* field = is_flag(name) ? find_recipe_field(name.substr(2)) : nullptr)
    way_out = fmt::format("for example {} {}", name, field->example);
  return caller_error(name, "its value is missing", way_out);
}

// What CLI11 looks for, and where each of it goes.
struct Flags {
  CLI::App app;
  std::vector<std::pair<const Argument*, CLI::Option*>> options;
  std::vector<std::pair<const RecipeField*, CLI::Option*>> recipe;
  std::map<std::string_view, CLI::Option*> globals;

  bool is_on(std::string_view global) {
    return globals[global]->count() > 0 && switch_value(global, globals[global]->results());
  }
};

void declare_argument(const Argument& argument, Flags& flags) {
  CLI::Option* option = nullptr;
  const std::string name(bare_name(argument.name));
  if (argument.value_name.empty() && is_flag(name)) {
    option = flags.app.add_flag(name);
  } else {
    option = flags.app.add_option(name);
    if (takes_rest(argument)) option->expected(1, CLI::detail::expected_max_vector_size)->allow_extra_args();
    else option->expected(1);
  }
  if (!std::holds_alternative<std::vector<std::string>*>(argument.target))
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  else option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  flags.options.emplace_back(&argument, option);
}

void declare_field(const RecipeField& field, Flags& flags) {
  const std::string name = fmt::format("--{}", field.name);
  CLI::Option* option = field.kind == FieldKind::flag ? flags.app.add_flag(name) : flags.app.add_option(name);
  if (field.kind == FieldKind::texts)
    option->expected(1, CLI::detail::expected_max_vector_size)
        ->allow_extra_args()
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  else option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  flags.recipe.emplace_back(&field, option);
}

void refuse_extras(const Command& command, const Flags& flags, const std::vector<std::string_view>& globals) {
  std::vector<std::string> extras = flags.app.remaining();
  // CLI11 leaves the mark behind which nothing is a flag among them.
  if (const auto mark = std::find(extras.begin(), extras.end(), "--"); mark != extras.end()) extras.erase(mark);
  for (const std::string& extra : extras)
    if (extra.size() > 1 && extra.front() == '-') throw unknown_argument(command, extra, globals);
  if (!extras.empty()) throw unknown_argument(command, extras.front(), globals);
}

}  // namespace

Parsed parse_arguments(const Command& command, std::vector<std::string> arguments,
                       std::vector<std::string_view> globals) {
  Flags flags;
  flags.app.set_help_flag("");
  flags.app.allow_extras();
  for (const Argument& argument : command.arguments) declare_argument(argument, flags);
  if (command.recipe_flags != nullptr)
    for (const RecipeField& field : recipe_fields()) declare_field(field, flags);
  for (const std::string_view name : globals)
    flags.globals[name] = flags.app.add_flag(name == "--help" ? "-h,--help" : std::string(name));

  join_pairs(command, arguments);
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    flags.app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    if (flags.globals["--help"]->count() > 0) return Parsed::show_help;
    throw from_parser(command, error);
  }
  if (flags.is_on("--help")) return Parsed::show_help;
  refuse_extras(command, flags, globals);
  if (command.json != nullptr && flags.is_on("--json")) *command.json = true;
  if (flags.is_on("--quiet")) set_log_level(LogLevel::quiet);
  if (flags.is_on("--verbose")) set_log_level(LogLevel::verbose);
  if (flags.is_on("--offline")) set_hub_offline();
  for (const auto& [argument, option] : flags.options) {
    if (option->count() > 0) fill(*argument, option->results());
    else if (argument->required)
      throw caller_error(std::string(argument->name), "is missing",
                         fmt::format("for example: {}", command.examples.front()));
  }
  for (const auto& [field, option] : flags.recipe)
    if (option->count() > 0) command.recipe_flags->emplace_back(field, option->results());
  return Parsed::run;
}

}  // namespace plimsoll::cli
