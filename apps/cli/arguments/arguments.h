// The arguments of a command as data: parsing, --help and the two-line errors derive from it.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/recipe/recipe_fields.h"

namespace plimsoll::cli {

struct Argument {
  std::string_view name;        // "--text"; "MODEL" for one without a flag; "[MODEL]" where it may be left out
  std::string_view value_name;  // as --help shows it; empty for a switch
  std::string_view help;
  // Set when given. bool: a switch. A vector takes several: each use of the flag adds one value, and with a value_name
  // that ends in … all values up to the next flag.
  std::variant<bool*, std::string*, std::optional<std::string>*, int64_t*, double*, std::vector<std::string>*> target;
  bool required = false;
  bool may_be_empty =
      false;  // '' is a value, too; else it is refused, as a shell's unset variable would be passed over
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

struct Command {
  std::string_view name;
  std::string_view summary;  // one line
  std::vector<std::string_view> examples = {};
  std::vector<Argument> arguments = {};
  std::vector<RecipeFlag>* recipe_flags = nullptr;  // takes every recipe field as a flag, into this
  bool* json = nullptr;
  std::function<int()> run = {};
  bool hidden = false;
};

enum class Parsed { run, show_help };

// Fills the command's targets from `arguments` (what follows the command's name). Throws a caller Error.
Parsed parse_arguments(const Command& command, std::vector<std::string> arguments,
                       std::vector<std::string_view> globals);

std::string command_help(const Command& command, int terminal_width);

}  // namespace plimsoll::cli
