// Tables of measured runs of both kinds, and the bytes of the runs that need no trace.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "engines/engine_profile.h"
#include "engines/measured/measured_rows.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace plimsoll;
  try {
    const CsvTable table = parse_csv({reinterpret_cast<const char*>(data), size}, "fuzz");
    for (const MeasuredRow& row : read_measured_rows(table, "/nonexistent", "fuzz")) {
      if (!row.reason.empty()) continue;
      const bool closed = row.run.serves || stack_memory(row.run.engine).profile == MemoryProfile::megatron;
      if (!closed) continue;
      try {
        const EngineMemory memory = estimate_engine_memory(row.run);
        if (memory.allocated.bytes < 0) __builtin_trap();
      } catch (const Error& error) {
        if (error.kind() == ErrorKind::internal) throw;
      }
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::internal) throw;
  }
  return 0;
}
