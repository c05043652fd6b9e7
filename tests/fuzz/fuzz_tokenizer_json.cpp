// tokenizer.json from anywhere: it loads and encodes, or a caller Error says why not. Nothing else may happen.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "data/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace plimsoll;
  // What follows a NUL byte is a text to encode; without one, a fixed text.
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t split = input.find('\0');
  const std::string_view text = split == std::string_view::npos
                                    ? "The caf\xc3\xa9's 42 \xe4\xb8\x96\xe7\x95\x8c <s>\xff\n\n  x"
                                    : input.substr(split + 1);
  try {
    const Tokenizer tokenizer = load_tokenizer_json(input.substr(0, split), "fuzz");
    const auto ids = tokenizer.encode(text, true);
    (void)tokenizer.encode(text, false, SpecialText::plain);
    (void)tokenizer.encode_pair(text, text, true);
    StreamDecoder stream(tokenizer, true);
    for (const int32_t id : ids) (void)stream.put(id);
    (void)stream.finish();
    (void)tokenizer.decode(ids, false);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::caller) throw;
  }
  try {
    (void)parse_tokenizer_config(input, "fuzz");
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::caller) throw;
  }
  return 0;
}
