#include "formats/packed/packed_weight.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/error.h"
#include "formats/number_conversion.h"
#include "quant/affine_groups.h"
#include "quant/bnb/int8_blockwise.h"
#include "quant/bnb/llm_int8.h"
#include "quant/fp8.h"

namespace plimsoll {
namespace {

using Kind = PackedFormat::Kind;

constexpr int64_t kWordBytes = 4, kWordBits = 32;

int64_t words_of(int64_t count, int bits) { return ceil_div(count * bits, kWordBits); }

struct Tiles {
  int64_t rows, cols;  // of a tile
  int64_t down, across;
};

Tiles tiles_of(const PackedFormat& format, int64_t rows, int64_t cols) {
  const int64_t tile_rows = format.tile_rows > 0 ? format.tile_rows : std::max<int64_t>(rows, 1);
  const int64_t tile_cols = format.tile_cols > 0 ? format.tile_cols : std::max<int64_t>(cols, 1);
  return {tile_rows, tile_cols, ceil_div(rows, tile_rows), ceil_div(cols, tile_cols)};
}

uint32_t load_word(const std::byte* at) {
  uint32_t word = 0;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

// The code that begins at bit `bit` of a stream whose words lie `stride` words apart.
uint32_t code_at(const std::byte* words, int64_t stride, int64_t bit, int bits) {
  const int64_t word = bit / kWordBits;
  const int within = static_cast<int>(bit % kWordBits);
  uint32_t code = load_word(words + word * stride * kWordBytes) >> within;
  if (within + bits > kWordBits) code |= load_word(words + (word + 1) * stride * kWordBytes) << (kWordBits - within);
  return code & ((1U << bits) - 1U);
}

float scale_at(DType type, const std::byte* scales, int64_t index) {
  float value = 0;
  decode_values(type, scales + dtype_bytes(type, index), {&value, 1});
  return value;
}

void round_to(DType type, std::span<float> values) {
  if (type == DType::bf16)
    for (float& value : values) value = inline_half::from_bf16(inline_half::to_bf16(value));
  if (type == DType::f16)
    for (float& value : values) value = inline_half::from_f16(inline_half::to_f16(value));
}

// Where restoring begins: at a whole block, and with nested absmax at a whole block of blocks.
struct Bnb4Start {
  int64_t element, block;  // multiple of the block; its number
  int64_t absmax;          // number of the first absmax that is read
  int64_t last_block;      // behind the last
};
// Of rows [first, last).
Bnb4Start bnb4_start(const PackedFormat& format, int64_t cols, int64_t first, int64_t last) {
  const int64_t block = first * cols / format.block;
  const int64_t absmax = std::min(block, bnb4_block_of(first, 0, cols, format.block));
  return {block * format.block, block, format.nested ? absmax / kNestedBlock * kNestedBlock : absmax,
          ceil_div(last * cols, format.block)};
}

void restore_bnb4(const PackedFormat& format, int64_t cols, int64_t first_row, int64_t last_row,
                  const PackedPointers& parts, float* out) {
  const Bnb4Start start = bnb4_start(format, cols, first_row, last_row);
  const int64_t first = first_row * cols, last = last_row * cols;
  const int64_t count = start.last_block - start.absmax;
  std::vector<float> absmax(static_cast<size_t>(count));
  if (format.nested) {
    std::vector<float> nested(static_cast<size_t>(ceil_div(count, kNestedBlock)));
    std::memcpy(nested.data(), parts[2], nested.size() * sizeof(float));
    restore_absmax(reinterpret_cast<const uint8_t*>(parts[1]), nested.data(), format.nested_offset, 0, count,
                   absmax.data());
  } else {
    std::memcpy(absmax.data(), parts[1], absmax.size() * sizeof(float));
  }
  const auto* const packed = reinterpret_cast<const uint8_t*>(parts[0]);
  if (!bnb4_counts_by_row(cols, format.block)) {
    dequantize_bnb4(format.bnb4, packed, absmax.data() + (start.block - start.absmax), format.block,
                    first - start.element, last - first, out);
    return;
  }
  for (int64_t row = first_row; row < last_row; ++row)
    for (int64_t col = 0; col < cols; col += format.block) {
      const float scale = absmax[static_cast<size_t>(bnb4_block_of(row, col, cols, format.block) - start.absmax)];
      const std::array<float, 2> both = {scale, scale};  // the codes may lie in two blocks
      const int64_t element = row * cols + col, origin = element / format.block * format.block;
      dequantize_bnb4(format.bnb4, packed + (origin - start.element) / 2, both.data(), format.block, element - origin,
                      std::min(format.block, cols - col), out + (element - first));
    }
}

void restore_integers(const PackedFormat& format, int64_t cols, int64_t first, int64_t count,
                      const PackedPointers& parts, float* out) {
  const int bits = format.bits;
  const int64_t row_bytes = words_of(cols, bits) * kWordBytes, groups = ceil_div(cols, format.group);
  const int64_t first_word = first * bits / kWordBits;  // of the zeros
  for (int64_t row = first; row < first + count; ++row) {
    const std::byte* words = parts[0] + (row - first) * row_bytes;
    for (int64_t g = 0; g < groups; ++g) {
      const float scale = scale_at(format.scale, parts[1], (row - first) * groups + g);
      // The stream of zeros begins at a word, maybe within the code of a row before.
      const int zero =
          format.symmetric
              ? 1 << (bits - 1)
              : static_cast<int>(code_at(parts[2] + g * kWordBytes, groups, row * bits - first_word * kWordBits, bits));
      const int64_t from = g * format.group, to = std::min(from + format.group, cols);
      for (int64_t col = from; col < to; ++col)
        *out++ = static_cast<float>(static_cast<int>(code_at(words, 1, col * bits, bits)) - zero) * scale;
    }
  }
}

void restore_fp8(const PackedFormat& format, int64_t rows, int64_t cols, int64_t first, int64_t count,
                 const PackedPointers& parts, float* out) {
  const Tiles tiles = tiles_of(format, rows, cols);
  const auto* bits = reinterpret_cast<const uint8_t*>(parts[0]);
  for (int64_t row = first; row < first + count; ++row) {
    const int64_t down = row / tiles.rows - first / tiles.rows;
    for (int64_t across = 0; across < tiles.across; ++across) {
      const float scale = scale_at(format.scale, parts[1], down * tiles.across + across);
      const int64_t end = std::min((across + 1) * tiles.cols, cols);
      for (int64_t col = across * tiles.cols; col < end; ++col) *out++ = from_e4m3(*bits++) * scale;
    }
  }
}

}  // namespace

PackedRanges packed_ranges(const PackedFormat& format, int64_t rows, int64_t cols, int64_t first, int64_t count) {
  const int64_t last = first + count;
  switch (format.kind) {
    case Kind::bnb4: {
      const Bnb4Start start = bnb4_start(format, cols, first, last);
      const int64_t blocks = start.last_block - start.absmax;
      const ByteRange packed{start.element / 2, bnb4_packed_bytes(last * cols) - start.element / 2};
      if (!format.nested) return {packed, {start.absmax * 4, blocks * 4}, {}};
      return {packed, {start.absmax, blocks}, {start.absmax / kNestedBlock * 4, ceil_div(blocks, kNestedBlock) * 4}};
    }
    case Kind::int8_rows:
      return {{{first * cols, count * cols}, {first * 4, count * 4}, {}}};
    case Kind::fp8_tiles: {
      const Tiles tiles = tiles_of(format, rows, cols);
      const int64_t from = first / tiles.rows * tiles.across, to = ceil_div(last, tiles.rows) * tiles.across;
      return {
          {{first * cols, count * cols}, {dtype_bytes(format.scale, from), dtype_bytes(format.scale, to - from)}, {}}};
    }
    case Kind::integers: {
      const int64_t row_bytes = words_of(cols, format.bits) * kWordBytes, groups = ceil_div(cols, format.group);
      const int64_t from = first * format.bits / kWordBits, to = words_of(last, format.bits);
      return {{{first * row_bytes, count * row_bytes},
               {dtype_bytes(format.scale, first * groups), dtype_bytes(format.scale, count * groups)},
               {from * groups * kWordBytes, format.symmetric ? 0 : (to - from) * groups * kWordBytes}}};
    }
  }
  return {};
}

std::array<int64_t, kPackedParts> packed_part_bytes(const PackedFormat& format, int64_t rows, int64_t cols) {
  const PackedRanges whole = packed_ranges(format, rows, cols, 0, rows);
  return {whole[0].bytes, whole[1].bytes, whole[2].bytes};
}

void restore_packed(const PackedFormat& format, int64_t rows, int64_t cols, int64_t first, int64_t count,
                    const PackedPointers& parts, float* out) {
  switch (format.kind) {
    case Kind::bnb4:
      restore_bnb4(format, cols, first, first + count, parts, out);
      break;
    case Kind::int8_rows:
      for (int64_t row = 0; row < count; ++row) {
        const float absmax = scale_at(DType::f32, parts[1], row);
        dequantize_rows_int8(reinterpret_cast<const int8_t*>(parts[0]) + row * cols, &absmax, 1, cols,
                             out + row * cols);
      }
      break;
    case Kind::fp8_tiles:
      restore_fp8(format, rows, cols, first, count, parts, out);
      break;
    case Kind::integers:
      restore_integers(format, cols, first, count, parts, out);
      break;
  }
  round_to(format.restored, {out, static_cast<size_t>(count * cols)});
}

}  // namespace plimsoll
