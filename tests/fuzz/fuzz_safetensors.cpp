#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "formats/safetensors.h"

// The bytes of a whole file: length, header, data.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 8) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 8, size - 8);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | data[i];
  try {
    plimsoll::parse_safetensors_header(rest.substr(0, static_cast<size_t>(length)), static_cast<int64_t>(size), "fuzz");
  } catch (const plimsoll::Error& error) {
    if (error.kind() == plimsoll::ErrorKind::internal) throw;
  }
  return 0;
}
