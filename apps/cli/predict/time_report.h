// The seconds of a step on another engine, for people and as JSON: `search`, and `plan --engine --device`.
#pragma once

#include <string>

#include "cli/text/output.h"
#include "engines/engine_time.h"

namespace plimsoll::cli {

// "36.4 % MFU, …" and one line for each cause that takes more than half a per cent.
std::string time_text(const EngineTime& time);

Json time_json(const EngineTime& time);

}  // namespace plimsoll::cli
