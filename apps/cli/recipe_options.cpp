#include "cli/recipe_options.h"

#include "base/bytes.h"
#include "config/recipe/recipe_toml.h"
#include "setup/run_sources.h"

namespace plimsoll::cli {

bool is_recipe_file(const std::string& name) { return name.size() > 5 && name.ends_with(".toml"); }

Recipe load_recipe(const std::string& file, const std::vector<RecipeFlag>& flags) {
  Recipe recipe = file.empty() ? Recipe{} : read_recipe_file(file);
  apply_recipe_flags(recipe, flags);
  validate_recipe(recipe);
  return recipe;
}

int64_t parse_memory_line(const std::string& text) {
  return text == "auto" ? free_memory_line() : parse_bytes(text, "--memory");
}

}  // namespace plimsoll::cli
