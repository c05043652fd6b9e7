// The time model of `plimsoll validate`: a measured row's step, predicted by engine_time.h.
#pragma once

#include "engines/measured/validation.h"

namespace plimsoll {

TimeModel make_time_model();  // reads the catalogue and the constants once

}  // namespace plimsoll
