#include "approaches/generation.h"

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {

Generation generation(const GenerationQuestion& question) {
  ServingSetup setup;
  setup.config = question.config;
  setup.model = &question.model;
  setup.device = question.device;
  setup.constants = question.constants;
  setup.tensor = question.tensor;
  setup.step_tokens = 8192;
  setup.most_sequences = 256;
  setup.request_tokens = question.prompt_tokens + question.answer_tokens;
  kernel_rates(*question.device, question.constants);  // what the catalogue lacks is an error, not a lack of room
  ServingModel model;
  try {
    model = serving_model(setup);
  } catch (const Error&) {
    return {};  // the weights alone fill the devices
  }
  const double weights = question.weights_are_there ? 0 : model.weights_device_bytes;
  const double fixed = question.other_bytes + weights + model.workspace_bytes;
  const auto limit = static_cast<double>(question.device->memory_bytes);
  const auto length = static_cast<double>(
      ceil_div(question.prompt_tokens + question.answer_tokens, setup.block_tokens) * setup.block_tokens);
  const double each = length * model.kv_token_bytes;
  const double room = std::floor((limit - fixed) / each);
  Generation found;
  if (room < 1) return found;
  found.concurrent = std::min({question.sequences, static_cast<int64_t>(std::min(room, 1e9)), setup.most_sequences});
  found.bytes = fixed + static_cast<double>(found.concurrent) * each;
  const auto wave = [&](int64_t count) {
    // Prompts in passes of step_tokens; then a token each a pass, with half of the answer in the cache on average.
    const int64_t prompts = count * question.prompt_tokens;
    double seconds = 0;
    for (int64_t left = prompts; left > 0; left -= setup.step_tokens)
      seconds +=
          pass_seconds(model, std::min(left, setup.step_tokens), static_cast<double>(question.prompt_tokens) / 2, 0, 0);
    const int64_t cached = count * (question.prompt_tokens + question.answer_tokens / 2);
    return seconds + static_cast<double>(question.answer_tokens) * pass_seconds(model, 0, 0, count, cached);
  };
  const int64_t full = question.sequences / found.concurrent, rest = question.sequences % found.concurrent;
  found.seconds = static_cast<double>(full) * wave(found.concurrent) + (rest > 0 ? wave(rest) : 0);
  return found;
}

}  // namespace plimsoll
