// 8-bit codes by block with bitsandbytes' dynamic table: more digits near zero, a wide range of exponents.
// Dettmers 2015, arXiv:1511.04561; Dettmers et al. 2021, arXiv:2110.02861.
//
// A value is its block's largest magnitude times an entry of the table. A code is the entry nearest to x * (1 /
// absmax); exactly between two, the lower one. (bitsandbytes' own CPU routine takes a short cut that is not always the
// nearest entry; its portable code gives these bytes.)
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace plimsoll {

struct CodeTable {
  std::array<float, 256> values;      // ascending
  std::array<float, 259> midpoints;   // of neighbours, in float arithmetic; then infinity
  std::array<uint8_t, 65536> coarse;  // by the upper half of a float's bits: midpoints below all floats with that half
};

// With a sign for weights, absmax and first moments; without for second moments, with one more bit of fraction.
const CodeTable& dynamic_table(bool is_signed);

// The index of the nearest value; NaN gives some index.
inline uint8_t nearest_code(const CodeTable& table, float x) {
  // How many midpoints are below x; at most three lie among the floats with the same upper half.
  uint32_t below = table.coarse[std::bit_cast<uint32_t>(x) >> 16];
  for (int i = 0; i < 3; ++i) below += table.midpoints[below] < x ? 1U : 0U;
  return static_cast<uint8_t>(below);
}

// n values → n codes and ceil_div(n, block) absmax; the last block may be short. To share work among threads, cut at
// multiples of `block`.
void quantize_blockwise(const CodeTable& table, const float* in, int64_t n, int64_t block, uint8_t* codes,
                        float* absmax);
void dequantize_blockwise(const CodeTable& table, const uint8_t* codes, const float* absmax, int64_t n, int64_t block,
                          float* out);

}  // namespace plimsoll
