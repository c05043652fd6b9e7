// How a Hugging Face folder keeps a matrix quantized: several tensors ("parts") beside one another. NAME is the path of
// a linear, its matrix (rows, cols) that of NAME.weight.
//
//   bnb4       NAME.weight u8 (bytes, 1), and what formats/packed/bnb4_state.h says
//   int8_rows  NAME.weight i8, NAME.SCB f32 (rows), NAME.weight_format u8 (): LLM.int8
//   fp8_tiles  NAME.weight f8_e4m3, a scale for each tile: NAME.weight_scale or NAME.weight_scale_inv
//   integers   NAME.weight_packed i32 (rows, words): codes of `bits` bits as one stream, lowest bit first;
//              NAME.weight_scale (rows, groups); unless symmetric NAME.weight_zero_point i32 (words of rows, groups), a
//              stream down each column; NAME.weight_shape i64 (2). Symmetric codes are stored as code + 2^(bits-1)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"
#include "formats/safetensors_writer.h"
#include "quant/bnb/bnb4.h"

namespace plimsoll {

struct PackedFormat {
  enum class Kind : uint8_t { bnb4, int8_rows, fp8_tiles, integers };

  Kind kind = Kind::bnb4;
  DType restored = DType::bf16;  // values are rounded to it when they are restored
  DType scale = DType::f32;      // fp8_tiles, integers: f32, f16 or bf16
  // bnb4
  Bnb4Type bnb4 = Bnb4Type::nf4;
  int64_t block = 64;
  bool nested = false;
  float nested_offset = 0;
  // integers
  int bits = 4;
  bool symmetric = false;
  int64_t group = 128;  // columns
  // fp8_tiles. 0: one scale for the matrix; its name ends in _inv where there is one for each block
  int64_t tile_rows = 0, tile_cols = 0;
  bool inverse_name = false;

  bool operator==(const PackedFormat&) const = default;
};

// The parts that hold a matrix's numbers, in this order.
//   bnb4 {packed, absmax, nested_absmax}, int8_rows {codes, SCB}, fp8_tiles {bits, scales}, integers {words, scales,
//   zeros}
inline constexpr int kPackedParts = 3;
struct ByteRange {
  int64_t offset = 0, bytes = 0;
};
using PackedRanges = std::array<ByteRange, kPackedParts>;
using PackedPointers = std::array<const std::byte*, kPackedParts>;

// Bytes of each part as a whole; 0 for parts that a format does not have.
std::array<int64_t, kPackedParts> packed_part_bytes(const PackedFormat& format, int64_t rows, int64_t cols);

// Of each part, what restoring rows [first, first + count) reads.
PackedRanges packed_ranges(const PackedFormat& format, int64_t rows, int64_t cols, int64_t first, int64_t count);

// Rows [first, first + count) of the matrix, (count, cols). `parts` point at the starts of their packed_ranges, at any
// alignment. Allocates nothing but for nested absmax.
void restore_packed(const PackedFormat& format, int64_t rows, int64_t cols, int64_t first, int64_t count,
                    const PackedPointers& parts, float* out);

}  // namespace plimsoll
