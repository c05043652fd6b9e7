// Writing safetensors with small buffers: the header first, then the tensors' bytes in the order of the entries.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"
#include "formats/output_file.h"

namespace plimsoll {

struct SafetensorsOutput {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;

  int64_t bytes() const { return dtype_bytes(dtype, shape.elements()); }
};

// Writes beside `path` and renames into place in finish(); without it nothing is left behind. Data starts at a multiple
// of 8 bytes. `metadata` gets {"format": "pt"} unless it has a format, since some loaders insist on it.
// World Errors as OutputFile; giving other bytes than the entries say is an internal Error.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::string& path, const std::vector<SafetensorsOutput>& entries,
                    std::map<std::string, std::string> metadata = {});

  // The next bytes of the data: tensors one after another, in pieces of any size.
  void write(std::span<const std::byte> bytes);
  void finish();

 private:
  OutputFile file_;
  int64_t bytes_left_ = 0;
};

}  // namespace plimsoll
