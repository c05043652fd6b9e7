// What people may ask for with `--type`.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf/gguf_file_type.h"
#include "formats/packed/packed_weight.h"

namespace plimsoll {

struct QuantizeType {
  enum class Kind : uint8_t { gguf, plain, packed };

  std::string name;
  Kind kind = Kind::plain;
  const GgufFileType* gguf = nullptr;  // gguf
  PackedFormat packed;                 // packed: of the linears; a matrix may have smaller groups, see folder_formats
  bool exact_groups = false;           // the size of the groups was asked for
  DType rest = DType::bf16;            // plain: of all tensors; packed: of those that are no linear
};

struct QuantizeTypeRequest {
  std::string type;
  std::string out;  // ends in .gguf: a GGUF file; else a folder
  std::optional<int64_t> group_size;
  bool double_quant = true;
  bool symmetric = true;
  DType rest = DType::bf16;
};

// Throws a caller Error for an unknown type, one that the target cannot hold, or a group size that the type does not
// have.
QuantizeType find_quantize_type(const QuantizeTypeRequest& request);

}  // namespace plimsoll
