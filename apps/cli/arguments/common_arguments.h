// Arguments that several commands take, each said once.
#pragma once

#include <string>
#include <string_view>

#include "cli/arguments/arguments.h"

namespace plimsoll::cli {

// MODEL of commands that plan: a name of the catalogue will do.
inline Argument planned_model_argument(std::string& target) {
  return {.name = "MODEL",
          .value_name = "MODEL",
          .help = "folder, .gguf file, config.json, hub id or a name of the catalogue",
          .target = &target,
          .required = true};
}

// MODEL of commands that need its weights.
inline Argument model_argument(std::string& target) {
  return {.name = "MODEL",
          .value_name = "MODEL",
          .help = "Hugging Face folder, .gguf file or hub id org/name",
          .target = &target,
          .required = true};
}

inline Argument adapter_argument(std::string& target) {
  return {.name = "--adapter", .value_name = "DIR", .help = "PEFT adapter to use with the model", .target = &target};
}

// --quant of the commands that only use a model.
inline Argument quant_argument(std::string& target) {
  return {.name = "--quant",
          .value_name = "TYPE",
          .help =
              "how weights are held: none (in --precision), stored (as the .gguf file packs them), or packed on the "
              "way: nf4, fp4, int8, fp8, q8_0, q4_k, … [auto: stored where the file packs them]",
          .target = &target};
}

inline Argument catalog_argument(std::string& target) {
  return {.name = "--catalog",
          .value_name = "DIR",
          .help = "your own devices and prices over ours [$PLIMSOLL_CATALOG]",
          .target = &target};
}

// A number from `min` to `max`; `target` is an int64_t* or double*.
template <typename Number>
Argument number_argument(std::string_view name, std::string_view value, std::string_view help, Number& target,
                         double min, double max) {
  return {.name = name, .value_name = value, .help = help, .target = &target, .min = min, .max = max};
}

inline Argument device_price_argument(double& target) {
  return number_argument("--price", "USD", "of one device an hour [the catalogue's cheapest, of yours if it has some]",
                         target, 1e-4, 1e6);
}

// A setting of a run as a flag: a std::string, or a vector of them. The recipe checks it (recipe_of_texts).
template <typename Text>
Argument recipe_argument(std::string_view flag, Text& target) {
  const RecipeField& field = *find_recipe_field(flag.substr(2));
  return {.name = flag, .value_name = field.value_name, .help = field.help, .target = &target};
}

}  // namespace plimsoll::cli
