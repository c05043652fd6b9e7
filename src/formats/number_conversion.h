// Runs of values between float and the types that files store. Plain types are exact or round to nearest even, and
// their loops vectorize; the scalar conversions of base/dtype.h give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"

namespace plimsoll {

// Can decode_values read this type: f32, f64, f16, bf16 and the block types of GGUF.
bool can_decode(DType dtype);

// `in` holds out.size() values of type `from` (a whole number of blocks), little-endian, at any alignment.
void decode_values(DType from, const std::byte* in, std::span<float> out);

// `to`: f32, f16, bf16 or a block type that quant/ggml/ggml_blocks.h can quantize.
// `out` holds dtype_bytes(to, in.size()) bytes, at any alignment; in.size() is a whole number of blocks.
void encode_values(DType to, std::span<const float> in, std::byte* out);

}  // namespace plimsoll
