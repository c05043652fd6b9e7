// A SentencePiece file from anywhere: it loads and encodes, or a caller Error says why not. Nothing else may happen.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "data/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace plimsoll;
  try {
    const Tokenizer tokenizer =
        load_tokenizer_sentencepiece({reinterpret_cast<const char*>(data), size}, "fuzz", nullptr);
    const auto ids = tokenizer.encode("buffer caf\xc3\xa9 42 \xe4\xb8\x96</s>\n  x", true);
    (void)tokenizer.decode(ids, false);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::caller) throw;
  }
  return 0;
}
