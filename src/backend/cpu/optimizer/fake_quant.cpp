#include "backend/cpu/optimizer/fake_quant.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "quant/fake_quant.h"
#include "quant/half.h"

namespace plimsoll::cpu {
namespace {

constexpr int64_t kLines = 16;   // outputs of a tile; a cache line of f32, where they lie side by side
constexpr int64_t kPiece = 512;  // values that are rounded at once

void put(const float* values, int64_t n, int64_t first, DType dtype, void* out) {
  if (dtype == DType::f32) {
    std::copy_n(values, n, static_cast<float*>(out) + first);
    return;
  }
  uint16_t* const to = static_cast<uint16_t*>(out) + first;
  for (int64_t i = 0; i < n; ++i)
    to[i] = dtype == DType::bf16 ? inline_half::to_bf16(values[i]) : inline_half::to_f16(values[i]);
}

}  // namespace

void fake_quant(ThreadPool& pool, int64_t rows, int64_t columns, int bits, int64_t group, bool transpose_weight,
                const float* in, DType out_dtype, void* out) {
  const int64_t outputs = transpose_weight ? rows : columns, inputs = transpose_weight ? columns : rows;
  const int64_t shared = group > 0 ? group : inputs;
  const int64_t step = transpose_weight ? 1 : columns;  // from one input of an output to the next
  pool.parallel_for(ceil_div(outputs, kLines), [&](int64_t tile, int) {
    std::array<float, kPiece> piece;
    for (int64_t line = tile * kLines; line < std::min((tile + 1) * kLines, outputs); ++line) {
      const int64_t begin = transpose_weight ? line * columns : line;
      for (int64_t first = 0; first < inputs; first += shared) {
        const int64_t count = std::min(shared, inputs - first), at = begin + first * step;
        const float scale = fake_quant_scale(in + at, count, step, bits);
        for (int64_t i = 0; i < count; i += kPiece) {
          const int64_t part = std::min(kPiece, count - i), from = at + i * step;
          fake_quantize(in + from, part, step, bits, scale, piece.data());
          if (step == 1) {
            put(piece.data(), part, from, out_dtype, out);
          } else {
            for (int64_t k = 0; k < part; ++k) put(&piece[static_cast<size_t>(k)], 1, from + k * step, out_dtype, out);
          }
        }
      }
    }
  });
}

}  // namespace plimsoll::cpu
