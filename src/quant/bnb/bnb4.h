// bitsandbytes' 4-bit formats, byte for byte: NF4 (quantiles of the normal distribution; QLoRA, arXiv:2305.14314) and
// FP4 (a sign, two exponent bits, one mantissa bit). n values lie row-major, in blocks of `block` that share a float32
// `absmax`; two codes a byte, the first in the high nibble. With double quantization the absmax themselves are 8-bit
// codes of blocks of 256, after their mean is taken away.
#pragma once

#include <array>
#include <cstdint>

namespace plimsoll {

enum class Bnb4Type : uint8_t { nf4, fp4 };

// By code; as a checkpoint's quant_map.
const std::array<float, 16>& bnb4_values(Bnb4Type type);

inline int64_t bnb4_packed_bytes(int64_t n) { return (n + 1) / 2; }

// The last block may be short. `block` is even. To share work among threads, cut at multiples of `block`.
void quantize_bnb4(Bnb4Type type, const float* in, int64_t n, int64_t block, uint8_t* packed, float* absmax);

// Elements [first, first + count) of the whole: any row or tile. `packed` and `absmax` are those of the whole.
void dequantize_bnb4(Bnb4Type type, const uint8_t* packed, const float* absmax, int64_t block, int64_t first,
                     int64_t count, float* out);

// Which absmax holds for a column of a matrix. bitsandbytes' CPU code and its GPU code disagree where rows of whole
// sixteens are no whole blocks: the CPU (0.45 to 0.50, AVX-512) gives every row cols / block scales and counts from the
// row's begin, the GPU takes the block that the element lies in. Ours are the numbers of the CPU's; published models
// have rows of whole blocks, where both agree.
inline bool bnb4_counts_by_row(int64_t cols, int64_t block) { return cols % block != 0 && cols % 16 == 0; }
inline int64_t bnb4_block_of(int64_t row, int64_t col, int64_t cols, int64_t block) {
  return bnb4_counts_by_row(cols, block) ? row * (cols / block) + col / block : (row * cols + col) / block;
}

inline constexpr int64_t kNestedBlock = 256;

// Returns the offset, the mean of `absmax`. `codes` gets n bytes, `nested_absmax` ceil_div(n, 256) floats.
float quantize_absmax(const float* absmax, int64_t n, uint8_t* codes, float* nested_absmax);
// Elements [first, first + count).
void restore_absmax(const uint8_t* codes, const float* nested_absmax, float offset, int64_t first, int64_t count,
                    float* absmax);

}  // namespace plimsoll
