#include "config/recipe/recipe_fields.h"

#include "config/recipe/recipe_rows.h"

namespace plimsoll {
namespace {

std::vector<RecipeField> build_fields() {
  using namespace recipe_rows;
  std::vector<RecipeField> fields;
  add_data_fields({fields, "Model and data"});
  add_method_fields({fields, "Method"});
  add_optimizer_fields({fields, "Optimizer"});
  add_batch_fields({fields, "Batch and length"});
  add_memory_fields({fields, "Memory"});
  add_run_fields({fields, "Run"});
  return fields;
}

}  // namespace

std::span<const RecipeField> recipe_fields() {
  static const std::vector<RecipeField> fields = build_fields();
  return fields;
}

const RecipeField* find_recipe_field(std::string_view name) {
  std::string flag(name);
  for (char& c : flag)
    if (c == '_') c = '-';
  for (const RecipeField& field : recipe_fields())
    if (field.name == flag) return &field;
  return nullptr;
}

}  // namespace plimsoll
