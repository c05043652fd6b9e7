// A survey of data for people and for scripts.
#pragma once

#include <string>

#include "cli/text/output.h"
#include "cli/text/terminal.h"
#include "train/data_survey.h"

namespace plimsoll::cli {

std::string data_text(const DataSurvey& survey, const Terminal& terminal);
Json data_json(const DataSurvey& survey);

}  // namespace plimsoll::cli
