#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/gguf_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const plimsoll::ReadAt read = [&](int64_t offset, std::span<std::byte> out) {
    if (offset < 0 || static_cast<size_t>(offset) > size || out.size() > size - static_cast<size_t>(offset))
      __builtin_trap();
    if (!out.empty()) std::memcpy(out.data(), data + offset, out.size());
  };
  try {
    const plimsoll::GgufFile gguf = plimsoll::parse_gguf(read, static_cast<int64_t>(size), "fuzz");
    plimsoll::gguf_model_config(gguf, read, "fuzz");
  } catch (const plimsoll::Error& error) {
    if (error.kind() == plimsoll::ErrorKind::internal) throw;
  }
  return 0;
}
