#include "cli/commands.h"
#include "cli/output.h"
#include "config/recipe/recipe_fields.h"

namespace plimsoll::cli {

Command help_recipe_command() {
  return {.name = "help-recipe",
          .summary = "docs/recipes.md, from the list of recipe fields",
          .examples = {"plimsoll help-recipe", "plimsoll help-recipe > docs/recipes.md"},
          .run =
              [] {
                write_result(recipe_fields_markdown());
                return 0;
              },
          .hidden = true};
}

}  // namespace plimsoll::cli
