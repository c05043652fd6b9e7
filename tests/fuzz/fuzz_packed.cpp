// A gzip or Zstandard file: whatever its bytes, it is unpacked through bounded buffers and comes to an end.
#include "fuzz/data_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  plimsoll::read_as_file(data, size, ".jsonl.gz", plimsoll::fuzz_options());
  return 0;
}
