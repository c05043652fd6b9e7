// A plan as people and scripts read it.
#pragma once

#include "compile/plan_report.h"
#include "setup/run_sources.h"

namespace plimsoll {

PlanReport report_plan(const RunSources& sources, const TrainPlan& plan, bool with_buffers);

// Writes the chosen plan's graphs as text: 1_forward.txt … after each pass, then phase_<name>.txt.
void dump_ir(const RunSources& sources, const TrainPlan& plan, const std::string& folder);

}  // namespace plimsoll
