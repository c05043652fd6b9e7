#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/gguf_model.h"

namespace {

constexpr int64_t kMostElements = 1 << 16;

// A file without a name.
struct MemoryFile {
  int fd = ::memfd_create("fuzz", MFD_CLOEXEC);
  ~MemoryFile() { ::close(fd); }
};

}  // namespace

// The structure, the model's config, the tensors under the model's names, and the values of those that are not large.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace plimsoll;
  const MemoryFile memory;
  if (memory.fd < 0 || ::write(memory.fd, data, size) != static_cast<ssize_t>(size)) return 0;
  try {
    const auto file = std::make_shared<InputFile>("/proc/self/fd/" + std::to_string(memory.fd));
    const ReadAt read = [&](int64_t offset, std::span<std::byte> out) {
      if (offset < 0 || static_cast<size_t>(offset) > size || out.size() > size - static_cast<size_t>(offset))
        __builtin_trap();
      file->read(offset, out);
    };
    const GgufFile gguf = parse_gguf(read, static_cast<int64_t>(size), "fuzz");
    const ModelConfig config = gguf_model_config(gguf, read, "fuzz");
    const TensorIndex index = gguf_tensor_index(gguf, file, config);
    for (const TensorEntry& entry : index.entries) {
      if (entry.shape.elements() > kMostElements) continue;
      std::vector<float> values(static_cast<size_t>(entry.shape.elements()));
      std::vector<std::byte> staging(static_cast<size_t>(min_staging_bytes(entry)));
      load_tensor(index, entry, DType::f32, std::as_writable_bytes(std::span(values)), staging);
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::internal) throw;
  }
  return 0;
}
