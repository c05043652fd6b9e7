// One row of a dataset (dataset.h says which shapes there are) → ids and labels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace plimsoll {

struct TokenizedRow {
  std::vector<int32_t> ids;     // below zero: -1 - id, masked
  std::vector<int32_t> labels;  // not shifted; kIgnoredLabel is ignored
  bool ready = false;           // the row gave its ids itself
};

// Not truncated. Throws a caller Error about `place`, or of the chat template.
TokenizedRow tokenize_row(const jinja::Value& row, const std::string& place, const DatasetOptions& options);

}  // namespace plimsoll
