#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "config/quantization_config.h"

// The bytes of a config.json.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const nlohmann::json config = nlohmann::json::parse(text, nullptr, false);
  if (!config.is_object()) return 0;
  try {
    const auto read = plimsoll::parse_quantization_config(config, "fuzz");
    // What was accepted can be written, and is accepted again.
    if (read)
      plimsoll::parse_quantization_config({{"quantization_config", plimsoll::write_quantization_config(*read)}},
                                          "written");
  } catch (const plimsoll::Error& error) {
    if (error.kind() == plimsoll::ErrorKind::internal) throw;
  }
  return 0;
}
