// The report of `quantize`.
#pragma once

#include <string>

#include "cli/output.h"
#include "quantize/quantize.h"

namespace plimsoll::cli {

Json quantize_json(const QuantizeReport& report, const std::string& type);
std::string quantize_text(const QuantizeReport& report, const std::string& type);

}  // namespace plimsoll::cli
