#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "formats/packed/packed_tensor.h"
#include "formats/safetensors.h"

namespace {

constexpr int64_t kMostElements = 1 << 16;  // a few bytes can stand for a large matrix; reading it is only slow

// A file without a name.
struct MemoryFile {
  int fd = ::memfd_create("fuzz", MFD_CLOEXEC);
  ~MemoryFile() { ::close(fd); }
};

}  // namespace

// Two bytes say in which way the folder is quantized (method; bits and flags), the rest is its model.safetensors.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace plimsoll;
  if (size < 3) return 0;
  const MemoryFile file;
  if (file.fd < 0 || ::write(file.fd, data + 2, size - 2) != static_cast<ssize_t>(size - 2)) return 0;
  QuantizationConfig config;
  config.method = static_cast<QuantizationConfig::Method>(data[0] % 6);
  config.symmetric = (data[1] & 0x10) != 0;
  config.rounded = (data[1] & 0x20) != 0;
  config.bits = 2 + (data[1] & 7) % 7;
  if (config.method == QuantizationConfig::Method::block_fp8) config.block_rows = config.block_cols = 16;
  try {
    TensorIndex index = open_safetensors("/proc/self/fd/" + std::to_string(file.fd));
    resolve_packed_tensors(index, config);
    for (const TensorEntry& entry : index.entries) {
      if ((!entry.packed && !entry.turned) || entry.shape.elements() > kMostElements) continue;
      std::vector<float> values(static_cast<size_t>(entry.shape.elements()));
      std::vector<std::byte> staging(static_cast<size_t>(min_staging_bytes(entry)));
      load_tensor(index, entry, DType::f32, std::as_writable_bytes(std::span(values)), staging);
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::internal) throw;
  }
  return 0;
}
