// Quantized matrices of a Hugging Face folder as entries of its tensor index.
#pragma once

#include <optional>

#include "config/quantization_config.h"
#include "formats/packed/packed_weight.h"
#include "formats/tensor_index.h"

namespace plimsoll {

struct PackedTensor {
  PackedFormat format;
  struct Part {
    int file = 0;
    int64_t offset = 0;  // bytes from the start of the file
  };
  std::array<Part, kPackedParts> parts = {};
};

// Replaces the tensors that belong to a quantized matrix by one entry NAME.weight with `packed` set, whose shape is the
// matrix's. Checks types, shapes and code tables; what does not hold is a caller Error that names the tensor. Reads the
// small parts only.
void resolve_packed_tensors(TensorIndex& index, const QuantizationConfig& config);

// The type of packed matrix (quant/packed_matrix.h) whose bytes are those of the entry's parts.
std::optional<DType> packed_dtype(const PackedFormat& format);
// Puts the parts together to such a matrix; `out` has packed_bytes.
void read_packed_matrix(const TensorIndex& index, const TensorEntry& entry, std::span<std::byte> out);

// load_tensor and min_staging_bytes of such an entry.
void load_packed_tensor(const TensorIndex& index, const TensorEntry& entry, DType target, std::span<std::byte> out,
                        std::span<std::byte> staging);
int64_t min_packed_staging_bytes(const TensorEntry& entry);

}  // namespace plimsoll
