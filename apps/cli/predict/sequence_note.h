// A word of warning about sequences that a model was not made for.
#pragma once

#include <cstdint>
#include <string_view>

#include "config/model_config.h"

namespace plimsoll::cli {

// Warns on stderr where `tokens` are more than the model's context; `what` begins the sentence ("rows have").
void note_long_sequences(const ModelConfig& config, int64_t tokens, std::string_view what);

}  // namespace plimsoll::cli
