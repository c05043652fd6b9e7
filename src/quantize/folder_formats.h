// Which matrices of a model a folder keeps quantized, and how.
#pragma once

#include <map>
#include <string>

#include "config/model_config.h"
#include "config/quantization_config.h"
#include "quantize/quantize_type.h"

namespace plimsoll {

// The weights of the model's linears (but for its head) with the format of each: that of `type`, whose groups are made
// smaller where they do not divide a matrix. Loaders cut no groups, so the size is then the largest that divides both;
// integers may differ from matrix to matrix, tiles of fp8 not. Throws a caller Error for models whose linears folders
// cannot hold so, and where no size of use is left.
std::map<std::string, PackedFormat> folder_formats(const ModelConfig& config, const QuantizeType& type);

// What config.json says of them.
QuantizationConfig quantization_config_of(const std::map<std::string, PackedFormat>& formats, const QuantizeType& type);

}  // namespace plimsoll
