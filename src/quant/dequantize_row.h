// Rows of weights for kernels that unpack a tile at a time: the same values as ggml_blocks.h and bnb4.h give, bit for
// bit, by vector instructions for the types that models are mostly stored in (q4_0, q4_1, q8_0, q4_k, q6_k, nf4, fp4)
// and by the plain loops for the rest. bf16 results are rounded to nearest even. No allocation; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "quant/bnb/bnb4.h"

namespace plimsoll {

// `n` values, whole blocks of `type`, from `in` (any alignment). `out` has room for n floats, or n bf16 bit patterns.
void dequantize_row(DType type, const std::byte* in, int64_t n, float* out);
void dequantize_row(DType type, const std::byte* in, int64_t n, uint16_t* out);

// Elements [first, first + count) of a matrix, as dequantize_bnb4.
void dequantize_row(Bnb4Type type, const uint8_t* packed, const float* absmax, int64_t block, int64_t first,
                    int64_t count, float* out);
void dequantize_row(Bnb4Type type, const uint8_t* packed, const float* absmax, int64_t block, int64_t first,
                    int64_t count, uint16_t* out);

// `n` codes of a byte each, times `scale`: signed integers, or 8-bit floats (quant/fp8.h).
enum class RowCode : uint8_t { int8, e4m3 };
void dequantize_row(RowCode code, const uint8_t* in, int64_t n, float scale, float* out);
void dequantize_row(RowCode code, const uint8_t* in, int64_t n, float scale, uint16_t* out);

}  // namespace plimsoll
