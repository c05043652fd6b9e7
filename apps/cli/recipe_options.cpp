#include "cli/recipe_options.h"

#include "config/recipe_toml.h"

namespace plimsoll::cli {

bool is_recipe_file(const std::string& name) { return name.size() > 5 && name.ends_with(".toml"); }

Recipe load_recipe(const std::string& file, const std::vector<RecipeFlag>& flags) {
  Recipe recipe = file.empty() ? Recipe{} : read_recipe_file(file);
  apply_recipe_flags(recipe, flags);
  validate_recipe(recipe);
  return recipe;
}

}  // namespace plimsoll::cli
