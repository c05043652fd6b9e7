// The recipe of `plan` and `train`: a TOML file, then flags over it.
#pragma once

#include <string>
#include <vector>

#include "config/recipe/recipe.h"
#include "config/recipe/recipe_fields.h"

namespace plimsoll::cli {

// `file` may be empty. Checked as a whole (validate_recipe). Throws caller and world Errors.
Recipe load_recipe(const std::string& file, const std::vector<RecipeFlag>& flags);

bool is_recipe_file(const std::string& name);  // ends in .toml

// --memory of commands without a recipe: a size, or "auto". Throws a caller Error, or the world Error of auto.
int64_t parse_memory_line(const std::string& text);

}  // namespace plimsoll::cli
