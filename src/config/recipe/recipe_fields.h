// The one list of recipe fields. From it come the flags of `plan` and `train`, the keys of recipe.toml (the same name
// with _ for -), their --help, docs/recipes.md, and the checks. Adding a field: a member of Recipe and a row here.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "config/recipe/recipe.h"

namespace plimsoll {

// A field's value between its text forms and the Recipe. monostate: not set.
using FieldValue =
    std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<std::string>, std::vector<double>>;

enum class FieldKind {
  text,     // string
  texts,    // vector<string>; several arguments of one flag, or an array
  on_off,   // bool, written on|off as a flag
  flag,     // bool, a flag without a value
  integer,  // int64, or one of `words`
  number,   // double
  pair,     // two doubles: 0.9,0.999 as a flag, [0.9, 0.999] in TOML
  word,     // one of `words`
  size,     // bytes: 2GiB
};

struct RecipeField {
  std::string_view group = {};  // heading in --help, recipe.toml and docs
  std::string_view name = {};   // as a flag, without the dashes
  FieldKind kind = FieldKind::text;
  std::string_view value_name = {};          // "FILE…", "auto|N"; empty for a flag
  std::string_view help = {};                // one line without a full stop
  std::string_view example = {};             // a value, as a flag's text
  std::vector<std::string_view> words = {};  // allowed words
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool below_max = false;            // max itself is not allowed
  std::string_view instead_of = {};  // setting this by a flag unsets that field of the TOML
  FieldValue (*get)(const Recipe&) = nullptr;
  void (*set)(Recipe&,
              const FieldValue&) = nullptr;  // value has the field's kind; monostate only where it can be unset
};

std::span<const RecipeField> recipe_fields();
const RecipeField* find_recipe_field(std::string_view name);  // "seq-len" or "seq_len"; nullptr when there is none

std::string recipe_key(const RecipeField& field);                           // "seq_len"
std::string field_text(const RecipeField& field, const FieldValue& value);  // as a flag's text; "" when not set
std::string field_range(const RecipeField& field);                          // "1 or more", "0 to below 1"; "" for any

// Checks `value` against the field's words and range; `thing` names its place in errors ("--rank", "recipe.toml line
// 3"). Throws a caller Error.
void check_field_value(const RecipeField& field, const FieldValue& value, std::string_view thing);

// One flag as typed: the texts after it ({} or {"true"} for a flag without a value).
using RecipeFlag = std::pair<const RecipeField*, std::vector<std::string>>;

// Sets flags over what `recipe` holds (a TOML file's values, or the defaults). Throws a caller Error naming the flag.
void apply_recipe_flags(Recipe& recipe, std::span<const RecipeFlag> flags);

// What no single field can see: steps and epochs together, batches that do not divide, momentum without sgd.
// Throws a caller Error.
void validate_recipe(const Recipe& recipe);

std::string recipe_fields_markdown();  // docs/recipes.md

}  // namespace plimsoll
