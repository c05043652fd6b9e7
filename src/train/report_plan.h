// A plan as people and scripts read it.
#pragma once

#include "compile/plan_report.h"
#include "train/run_sources.h"

namespace plimsoll {

PlanReport report_plan(const RunSources& sources, const TrainPlan& plan, bool with_buffers);

}  // namespace plimsoll
