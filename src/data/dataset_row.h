// One row of a dataset (row_shape.h says which shapes there are) → ids and labels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/files/row_reader.h"

namespace plimsoll {

// Not truncated. Throws a caller Error about `place`, or of the chat template.
TokenizedRow tokenize_row(const jinja::Value& row, const TextPiece& piece, const std::string& place,
                          const DatasetOptions& options);

}  // namespace plimsoll
