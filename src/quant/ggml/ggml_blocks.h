// The block types of GGUF: groups of 32 to 256 values that share scales. Layouts after ggml-common.h of ggml; what
// dequantize_blocks gives is bit-equal to ggml's own routine, and so are the bytes of quantize_blocks (without
// importance matrix).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace plimsoll {

// `blocks` blocks at `in` (any alignment) → blocks * block_elements values. Requires is_block_type(dtype).
void dequantize_blocks(DType dtype, const std::byte* in, int64_t blocks, float* out);

// All but iq1_*, iq2_*, iq3_* (whose searches need an importance matrix to be of use), nvfp4 and q1_0.
bool can_quantize_blocks(DType dtype);

// Requires can_quantize_blocks(dtype). NaN and infinity give codes without meaning.
void quantize_blocks(DType dtype, const float* in, int64_t blocks, std::byte* out);

}  // namespace plimsoll
