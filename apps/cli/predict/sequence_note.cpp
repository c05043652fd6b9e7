#include "cli/predict/sequence_note.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"

namespace plimsoll::cli {

void note_long_sequences(const ModelConfig& config, int64_t tokens, std::string_view what) {
  if (config.context_length <= 0 || tokens <= config.context_length) return;
  log_warning(fmt::format("{} {} tokens, the model's context {}: it must be taught longer ones first", what,
                          format_thousands(tokens), format_thousands(config.context_length)));
}

}  // namespace plimsoll::cli
