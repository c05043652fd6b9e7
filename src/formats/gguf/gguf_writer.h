// Writing GGUF version 3 with small buffers: metadata and tensor infos first, then the tensors' bytes in order.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "formats/gguf/gguf.h"
#include "formats/output_file.h"

namespace plimsoll {

struct GgufOutput {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;  // row-major; at most 4 dimensions

  int64_t bytes() const { return dtype_bytes(dtype, shape.elements()); }
};

// Writes beside `path` and renames into place in finish(); without it nothing is left behind. World Errors as
// OutputFile; giving other bytes than the entries say is an internal Error.
class GgufWriter {
 public:
  GgufWriter(const std::string& path, const GgufMetadata& metadata, const std::vector<GgufOutput>& tensors);

  // The next bytes of the data: tensors one after another, in pieces of any size that do not cross from one tensor into
  // the next. Padding is added by the writer.
  void write(std::span<const std::byte> bytes);
  void finish();

 private:
  void skip_empty();

  OutputFile file_;
  std::vector<int64_t> bytes_left_;  // of each tensor
  size_t current_ = 0;
};

}  // namespace plimsoll
