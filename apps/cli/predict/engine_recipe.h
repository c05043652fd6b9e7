// What a recipe of ours means on another engine.
#pragma once

#include <string>
#include <string_view>

#include "cli/predict/plan_engine.h"
#include "cli/text/output.h"

namespace plimsoll::cli {

// Every field of the recipe that changes bytes is honoured or refused with a caller Error that names its flag.
EngineRecipe engine_recipe(const Recipe& recipe, const EngineOptions& options);

// --weights; `others` is added to the known ones where none is meant.
WeightFormat engine_weights(std::string_view text, const std::string& others = "");

// What is planned, in a line and as fields.
std::string recipe_text(const EngineRun& run);
Json recipe_json(const EngineRun& run);

}  // namespace plimsoll::cli
