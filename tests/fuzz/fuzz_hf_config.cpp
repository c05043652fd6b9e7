#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "config/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const plimsoll::ModelConfig config = plimsoll::parse_hf_config(text, "fuzz");
    // What was accepted can be written, and means the same when it is read again.
    if (!(plimsoll::parse_hf_config(plimsoll::write_hf_config(config, config.stored_dtype), "written") == config)) {
      __builtin_trap();
    }
  } catch (const plimsoll::Error& error) {
    if (error.kind() == plimsoll::ErrorKind::internal) throw;
  }
  return 0;
}
