// A chat template out of a stranger's model folder, run on a conversation. The input is the template; behind a NUL byte
// there may be the messages as JSON.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "data/chat_template.h"
#include "data/jinja/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using plimsoll::jinja::parse_json;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t nul = input.find('\0');
  const std::string_view messages =
      nul != std::string_view::npos
          ? input.substr(nul + 1)
          : R"([{"role": "system", "content": " s "}, {"role": "user", "content": "déjà <b>", "n": [1, 2.5, null]},
               {"role": "assistant", "content": "a", "tool_calls": [{"function": {"name": "f", "arguments": {"x": true}}}]}])";
  try {
    const plimsoll::ChatTemplate source(input.substr(0, nul));
    plimsoll::ChatRequest request;
    request.messages = parse_json(messages);
    request.tools =
        parse_json(R"([{"type": "function", "function": {"name": "f", "parameters": {"items": {"a": 1}}}}])");
    request.bos_token = "<s>";
    request.eos_token = "</s>";
    request.now = std::tm{};
    request.now->tm_mday = 1;
    request.add_generation_prompt = true;
    source.render(request);
    source.render_for_training(request);
  } catch (const plimsoll::Error& error) {
    if (error.kind() == plimsoll::ErrorKind::internal) throw;
  } catch (const plimsoll::jinja::Failure&) {  // the messages are not JSON
  }
  return 0;
}
