#include <fmt/format.h>

#include <string>

#include "config/recipe/recipe_fields.h"

namespace plimsoll {

std::string recipe_fields_markdown() {
  std::string page =
      "# Recipes\n\n"
      "A recipe says what to do with a model. Every field is a flag of `plimsoll plan` and `plimsoll train`, and a key "
      "of\n"
      "`recipe.toml` with `_` for `-`. A flag overrides the key. `plimsoll train` writes the complete recipe, every "
      "default\n"
      "written out, to `recipe.toml` in its output folder; `plimsoll train out/recipe.toml --out again` repeats the "
      "run.\n\n"
      "Paths in a recipe are relative to the folder in which the program is started. A `--steps` flag takes the place "
      "of an\n"
      "`epochs` key and the other way round. Sizes are written `900MiB`, `2GiB`, `24GB` (10⁹), or plain bytes.\n\n"
      "This page is made from the program's own list: `plimsoll help-recipe > docs/recipes.md`.\n";
  const Recipe defaults;
  std::string_view group;
  for (const RecipeField& field : recipe_fields()) {
    if (field.group != group) {
      group = field.group;
      page += fmt::format("\n## {}\n\n| flag | key | default | example | meaning |\n| --- | --- | --- | --- | --- |\n",
                          group);
    }
    const std::string text = field_text(field, field.get(defaults));
    std::string value_name(field.value_name), flag = fmt::format("--{}", field.name);
    for (size_t bar = 0; (bar = value_name.find('|', bar)) != std::string::npos; bar += 2)
      value_name.insert(bar, 1, '\\');
    if (!value_name.empty()) flag += " " + value_name;
    const std::string range = field_range(field);
    page += fmt::format("| `{}` | `{}` | {} | `{}` | {}{} |\n", flag, recipe_key(field),
                        text.empty() ? "not set" : "`" + text + "`", field.example, field.help,
                        range.empty() ? "" : fmt::format(" ({})", range));
  }
  return page;
}

}  // namespace plimsoll
