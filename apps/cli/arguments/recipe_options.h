// The recipe of `plan` and `train`: a TOML file, then flags over it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/recipe/recipe.h"
#include "config/recipe/recipe_fields.h"

namespace plimsoll::cli {

// `file` may be empty. Checked as a whole (validate_recipe). Throws caller and world Errors.
Recipe load_recipe(const std::string& file, const std::vector<RecipeFlag>& flags);

// Of commands that take some settings of a run, over `recipe`: names of fields and what was given for them; "" or
// nothing leaves a field as it is. The recipe's own rows check them, so that all commands say the same.
struct RecipeTexts {
  std::string_view name;
  std::vector<std::string> texts;
};
Recipe recipe_of_texts(Recipe recipe, const std::vector<RecipeTexts>& given);

bool is_recipe_file(const std::string& name);  // ends in .toml

// --memory of commands without a recipe: a size, or "auto". Throws a caller Error, or the world Error of auto.
int64_t parse_memory_line(const std::string& text);

}  // namespace plimsoll::cli
