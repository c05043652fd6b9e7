// The text of --layout: "dp=8,tp=2,zero=3". docs/engines.md has the keys and which engine reads which.
#pragma once

#include <string_view>

#include "engines/engine_run.h"

namespace plimsoll::cli {

// Fills the layout, and the keys of the recipe that stand there. run.engine and run.model are set. FSDP over several
// ranks cuts weights unless zero= says otherwise. Throws a caller Error, also for keys that the engine doesn't read.
void read_layout(std::string_view text, EngineRun& run);

// Serving reads tensor ranks only.
int64_t read_serving_layout(std::string_view text);

}  // namespace plimsoll::cli
