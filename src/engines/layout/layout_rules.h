// Layouts that an engine cannot start, whatever memory there is. Profiles follow measured runs and don't ask; what a
// user lays out is checked here first.
#pragma once

#include "engines/engine_run.h"

namespace plimsoll {

// Megatron-Core's rules (megatron/training/arguments.py, core/parallel_state.py,
// core/transformer/transformer_config.py): heads and key-value groups, experts and their ranks, chunks, parts of a
// sequence. Throws a caller Error with a layout that would do; other engines' layouts pass.
void refuse_impossible_layout(const EngineRun& run);

}  // namespace plimsoll
