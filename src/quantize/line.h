// The line of `--memory` for this command.
#pragma once

#include <cstdint>

#include "quantize/quantize.h"

namespace plimsoll {

// An Error that does not fit, with the least that works, when `total_bytes` of the process is above the line.
void require_line(const QuantizeOptions& options, int64_t total_bytes);

}  // namespace plimsoll
