// recipe.toml (TOML 1.0): read over a recipe's defaults, write with every value. read(write(recipe)) == recipe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/recipe/recipe.h"
#include "config/recipe/recipe_fields.h"

namespace plimsoll {

// Sets every key of `text` in `recipe`. Unknown keys, wrong types and values out of range are caller Errors that name
// `source` and the line. Paths in it are as given on the command line: relative to the working directory.
void apply_recipe_toml(Recipe& recipe, std::string_view text, std::string_view source);

// The defaults with the file's values. At most 1 MiB. Missing: a caller Error; unreadable: a world Error.
Recipe read_recipe_file(const std::string& path);

// Fields that a text of write_recipe_toml does not have any more: neither set nor named as not set. To leave a key out
// is fine in a recipe that a person writes; a run that goes on must not take a default for it.
std::vector<const RecipeField*> lost_recipe_fields(std::string_view text);

// Every field in the order of recipe_fields(), each under its help; fields that are not set are comments. Numbers are
// written in the shortest form that reads back the same. Throws a caller Error for text that is not UTF-8.
std::string write_recipe_toml(const Recipe& recipe);

}  // namespace plimsoll
