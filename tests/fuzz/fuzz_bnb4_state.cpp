#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "formats/packed/bnb4_state.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const plimsoll::Bnb4State state = plimsoll::parse_bnb4_state({reinterpret_cast<const char*>(data), size}, "fuzz");
    // What was accepted can be written, and means the same when it is read again.
    if (!(plimsoll::parse_bnb4_state(plimsoll::write_bnb4_state(state), "written") == state)) __builtin_trap();
    plimsoll::bnb4_tensors("weight", state);
  } catch (const plimsoll::Error& error) {
    if (error.kind() == plimsoll::ErrorKind::internal) throw;
  }
  return 0;
}
