// A matrix of weights in few bits, as it lies in the arena: one buffer, unpacked a tile at a time where it is used.
//
//   block types of GGUF  rows of blocks, as in the file (quant/ggml/ggml_blocks.h); columns are whole blocks
//   nf4, fp4             bitsandbytes with double quantization (quant/bnb/bnb4.h), blocks of 64 over the whole matrix:
//                        codes (n + 1) / 2, absmax codes n / 64, to the next 4; f32 absmax of 256 of these; f32 offset
//   int8                 LLM.int8 by row (quant/bnb/llm_int8.h): codes n, to the next 4; f32 absmax of each row
//   fp8                  e4m3 by row: codes n, to the next 4; f32 scale (absmax / 448) of each row
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"

namespace plimsoll {

// True for all of the above: values of this type are read through unpack_tile only.
inline bool is_packed(DType dtype) { return is_block_type(dtype) || dtype_info(dtype).block_bytes == 0; }

// A matrix of this shape can be packed so: two dimensions, rows of whole blocks.
bool can_pack(DType dtype, const Shape& shape);

int64_t packed_bytes(DType dtype, int64_t rows, int64_t cols);
// Of a tensor of any type; packed ones have two dimensions.
int64_t tensor_bytes(DType dtype, const Shape& shape);

struct PackedMatrix {
  DType type = DType::nf4;
  int64_t rows = 0, cols = 0;
  const std::byte* data = nullptr;  // aligned to 4
};

// Where the parts of a matrix of n elements begin, for kernels that read codes themselves.
inline constexpr int64_t kBnb4Block = 64;
struct Bnb4Layout {
  int64_t blocks, codes, nested, offset, bytes;
  explicit Bnb4Layout(int64_t n);
};
int64_t row_scales_at(int64_t n);  // int8, fp8

// Rows [row, row + rows) and columns [col, col + cols) → `out`, `stride` elements between rows: floats, or bf16 bits
// rounded to nearest even. Columns that begin and end at blocks are fastest. No allocation; any thread.
void unpack_tile(const PackedMatrix& matrix, int64_t row, int64_t rows, int64_t col, int64_t cols, float* out,
                 int64_t stride);
void unpack_tile(const PackedMatrix& matrix, int64_t row, int64_t rows, int64_t col, int64_t cols, uint16_t* out,
                 int64_t stride);

// Packs a matrix row by row. `scratch`: packer_scratch_bytes, aligned to 4; not read before it is written.
class MatrixPacker {
 public:
  // Requires can_pack, and for a block type can_quantize_blocks.
  MatrixPacker(DType type, int64_t rows, int64_t cols, std::byte* out, std::span<std::byte> scratch);
  void add_row(std::span<const float> values);  // `cols` of them; NaN and infinity give codes without meaning
  void finish();                                // after the last row

 private:
  void add_bnb4(std::span<const float> values);

  PackedMatrix matrix_;
  std::byte* out_;
  float* absmax_;  // nf4, fp4: of the blocks so far
  int64_t row_ = 0, block_ = 0;
  std::array<float, 64> pending_{};  // the begin of a block that goes on in the next row
  size_t pending_count_ = 0;
};
int64_t packer_scratch_bytes(DType type, int64_t rows, int64_t cols);

}  // namespace plimsoll
