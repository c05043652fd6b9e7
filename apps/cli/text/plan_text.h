// A plan as people read it: the bar against the line, the phases, the choices.
#pragma once

#include <string>

#include "base/error.h"
#include "cli/text/terminal.h"
#include "compile/plan_report.h"

namespace plimsoll::cli {

std::string plan_text(const PlanReport& report, const Terminal& terminal);

}  // namespace plimsoll::cli
