// What a person could change so that a run fits.
#pragma once

#include <vector>

#include "compile/choose_plan.h"

namespace plimsoll {

// Changes that would fit below the recipe's line, each alone; where none is enough alone, all of them together.
std::vector<Suggestion> suggest_changes(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                                        const PlanTarget& target);

}  // namespace plimsoll
