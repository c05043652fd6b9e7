#include "quant/packed_matrix.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/error.h"
#include "quant/bnb/bnb4.h"
#include "quant/bnb/int8_blockwise.h"
#include "quant/bnb/llm_int8.h"
#include "quant/dequantize_row.h"
#include "quant/fp8.h"
#include "quant/ggml/ggml_blocks.h"
#include "quant/half.h"

namespace plimsoll {
namespace {

bool is_bnb4(DType type) { return type == DType::nf4 || type == DType::fp4; }
Bnb4Type bnb4_type(DType type) { return type == DType::nf4 ? Bnb4Type::nf4 : Bnb4Type::fp4; }

float load_f32(const std::byte* at) {
  float value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
void store_f32(float value, std::byte* at) { std::memcpy(at, &value, sizeof value); }

void put(const float* from, int64_t count, float* to) { std::copy_n(from, count, to); }
void put(const float* from, int64_t count, uint16_t* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = inline_half::to_bf16(from[i]);
}

template <typename Out>
void unpack_block_row(const PackedMatrix& matrix, int64_t row, int64_t col, int64_t cols, Out* out) {
  const DTypeInfo& info = dtype_info(matrix.type);
  const std::byte* const blocks = matrix.data + row * (matrix.cols / info.block_elements) * info.block_bytes;
  const int64_t size = info.block_elements, last = col + cols;
  for (int64_t at = col; at < last;) {
    const int64_t block = at / size, begin = block * size;
    const std::byte* const from = blocks + block * info.block_bytes;
    if (at == begin && last - at >= size) {
      const int64_t count = (last - at) / size * size;
      dequantize_row(matrix.type, from, count, out + (at - col));
      at += count;
      continue;
    }
    std::array<float, 256> values;
    const int64_t end = std::min(last, begin + size);
    dequantize_row(matrix.type, from, size, values.data());
    put(values.data() + (at - begin), end - at, out + (at - col));
    at = end;
  }
}

template <typename Out>
void unpack_bnb4_row(const PackedMatrix& matrix, int64_t row, int64_t col, int64_t cols, Out* out) {
  constexpr int64_t kBlocks = 64;
  const Bnb4Layout layout(matrix.rows * matrix.cols);
  const auto* const packed = reinterpret_cast<const uint8_t*>(matrix.data);
  const auto* const nested = reinterpret_cast<const float*>(matrix.data + layout.nested);
  const float offset = load_f32(matrix.data + layout.offset);
  std::array<float, kBlocks> absmax;
  int64_t at = row * matrix.cols + col;
  const int64_t last = at + cols;
  while (at < last) {
    const int64_t block = at / kBnb4Block, origin = block * kBnb4Block;
    const int64_t end = std::min(last, origin + kBlocks * kBnb4Block);
    restore_absmax(packed + layout.codes, nested, offset, block, ceil_div(end, kBnb4Block) - block, absmax.data());
    dequantize_row(bnb4_type(matrix.type), packed + origin / 2, absmax.data(), kBnb4Block, at - origin, end - at, out);
    out += end - at;
    at = end;
  }
}

// Rows whose scales are counted from their begin (bnb4_counts_by_row): a run of one scale at a time.
template <typename Out>
void unpack_bnb4_by_row(const PackedMatrix& matrix, int64_t row, int64_t col, int64_t cols, Out* out) {
  const Bnb4Layout layout(matrix.rows * matrix.cols);
  const auto* const packed = reinterpret_cast<const uint8_t*>(matrix.data);
  const auto* const nested = reinterpret_cast<const float*>(matrix.data + layout.nested);
  for (int64_t at = col; at < col + cols;) {
    const int64_t end = std::min(col + cols, (at / kBnb4Block + 1) * kBnb4Block);
    std::array<float, 2> absmax;
    restore_absmax(packed + layout.codes, nested, load_f32(matrix.data + layout.offset),
                   bnb4_block_of(row, at, matrix.cols, kBnb4Block), 1, absmax.data());
    absmax[1] = absmax[0];
    const int64_t element = row * matrix.cols + at, origin = element / kBnb4Block * kBnb4Block;
    dequantize_row(bnb4_type(matrix.type), packed + origin / 2, absmax.data(), kBnb4Block, element - origin, end - at,
                   out + (at - col));
    at = end;
  }
}

template <typename Out>
void unpack(const PackedMatrix& matrix, int64_t row, int64_t rows, int64_t col, int64_t cols, Out* out,
            int64_t stride) {
  const bool in_blocks = is_block_type(matrix.type);
  const int64_t scales = row_scales_at(matrix.rows * matrix.cols);
  for (int64_t i = row; i < row + rows; ++i, out += stride) {
    if (in_blocks) unpack_block_row(matrix, i, col, cols, out);
    else if (is_bnb4(matrix.type) && bnb4_counts_by_row(matrix.cols, kBnb4Block))
      unpack_bnb4_by_row(matrix, i, col, cols, out);
    else if (is_bnb4(matrix.type)) unpack_bnb4_row(matrix, i, col, cols, out);
    else
      dequantize_row(matrix.type == DType::int8 ? RowCode::int8 : RowCode::e4m3,
                     reinterpret_cast<const uint8_t*>(matrix.data) + i * matrix.cols + col, cols,
                     load_f32(matrix.data + scales + i * 4) / (matrix.type == DType::int8 ? 127.0F : 1.0F), out);
  }
}

}  // namespace

Bnb4Layout::Bnb4Layout(int64_t n)
    : blocks(ceil_div(n, kBnb4Block)),
      codes(bnb4_packed_bytes(n)),
      nested(round_up(codes + blocks, 4)),
      offset(nested + ceil_div(blocks, kNestedBlock) * 4),
      bytes(offset + 4) {}

int64_t row_scales_at(int64_t n) { return round_up(n, 4); }

bool can_pack(DType dtype, const Shape& shape) {
  return is_packed(dtype) && shape.rank() == 2 && shape.elements() > 0 &&
         shape[1] % dtype_info(dtype).block_elements == 0;
}

int64_t packed_bytes(DType dtype, int64_t rows, int64_t cols) {
  const int64_t n = rows * cols;
  if (is_block_type(dtype)) return dtype_bytes(dtype, n);
  return is_bnb4(dtype) ? Bnb4Layout(n).bytes : row_scales_at(n) + rows * 4;
}

int64_t tensor_bytes(DType dtype, const Shape& shape) {
  if (dtype_info(dtype).block_bytes > 0) return dtype_bytes(dtype, shape.elements());
  PLIMSOLL_CHECK(shape.rank() == 2, "a packed tensor is a matrix");
  return packed_bytes(dtype, shape[0], shape[1]);
}

void unpack_tile(const PackedMatrix& matrix, int64_t row, int64_t rows, int64_t col, int64_t cols, float* out,
                 int64_t stride) {
  unpack(matrix, row, rows, col, cols, out, stride);
}
void unpack_tile(const PackedMatrix& matrix, int64_t row, int64_t rows, int64_t col, int64_t cols, uint16_t* out,
                 int64_t stride) {
  unpack(matrix, row, rows, col, cols, out, stride);
}

int64_t packer_scratch_bytes(DType type, int64_t rows, int64_t cols) {
  return is_bnb4(type) ? ceil_div(rows * cols, kBnb4Block) * 4 : 0;
}

MatrixPacker::MatrixPacker(DType type, int64_t rows, int64_t cols, std::byte* out, std::span<std::byte> scratch)
    : matrix_{type, rows, cols, out}, out_(out), absmax_(reinterpret_cast<float*>(scratch.data())) {
  PLIMSOLL_CHECK(can_pack(type, {rows, cols}) && (!is_block_type(type) || can_quantize_blocks(type)),
                 "not a format that is written");
  PLIMSOLL_CHECK(static_cast<int64_t>(scratch.size()) >= packer_scratch_bytes(type, rows, cols), "scratch is short");
}

void MatrixPacker::add_bnb4(std::span<const float> values) {
  const auto quantize = [&](const float* from, int64_t count) {
    quantize_bnb4(bnb4_type(matrix_.type), from, count, kBnb4Block,
                  reinterpret_cast<uint8_t*>(out_) + block_ * kBnb4Block / 2, absmax_ + block_);
    block_ += ceil_div(count, kBnb4Block);
  };
  if (pending_count_ > 0) {
    const size_t count = std::min(values.size(), pending_.size() - pending_count_);
    std::copy_n(values.begin(), count, pending_.begin() + static_cast<int64_t>(pending_count_));
    pending_count_ += count;
    values = values.subspan(count);
    if (pending_count_ < pending_.size()) return;
    quantize(pending_.data(), kBnb4Block);
  }
  const size_t whole = values.size() / pending_.size() * pending_.size();
  if (whole > 0) quantize(values.data(), static_cast<int64_t>(whole));
  pending_count_ = values.size() - whole;
  std::copy_n(values.begin() + static_cast<int64_t>(whole), pending_count_, pending_.begin());
}

void MatrixPacker::add_row(std::span<const float> values) {
  PLIMSOLL_CHECK(static_cast<int64_t>(values.size()) == matrix_.cols && row_ < matrix_.rows, "a row of the matrix");
  const int64_t first = row_ * matrix_.cols;
  std::byte* const scale = out_ + row_scales_at(matrix_.rows * matrix_.cols) + row_ * 4;
  ++row_;
  if (is_block_type(matrix_.type)) {
    const DTypeInfo& info = dtype_info(matrix_.type);
    const int64_t blocks = matrix_.cols / info.block_elements;
    quantize_blocks(matrix_.type, values.data(), blocks, out_ + (row_ - 1) * blocks * info.block_bytes);
  } else if (is_bnb4(matrix_.type)) {
    add_bnb4(values);
  } else if (matrix_.type == DType::int8) {
    float absmax = 0;
    quantize_rows_int8(values.data(), 1, matrix_.cols, reinterpret_cast<int8_t*>(out_) + first, &absmax);
    store_f32(absmax, scale);
  } else {
    float row_scale = 0;
    quantize_fp8_tiles(DType::f8_e4m3, {1, matrix_.cols, 1, matrix_.cols}, 0, values.data(), &row_scale,
                       reinterpret_cast<uint8_t*>(out_) + first);
    store_f32(row_scale, scale);
  }
}

void MatrixPacker::finish() {
  PLIMSOLL_CHECK(row_ == matrix_.rows, "every row is added");
  if (!is_bnb4(matrix_.type)) return;
  const Bnb4Layout layout(matrix_.rows * matrix_.cols);
  if (pending_count_ > 0)
    quantize_bnb4(bnb4_type(matrix_.type), pending_.data(), static_cast<int64_t>(pending_count_), kBnb4Block,
                  reinterpret_cast<uint8_t*>(out_) + block_ * kBnb4Block / 2, absmax_ + block_);
  store_f32(quantize_absmax(absmax_, layout.blocks, reinterpret_cast<uint8_t*>(out_) + layout.codes,
                            reinterpret_cast<float*>(out_ + layout.nested)),
            out_ + layout.offset);
}

}  // namespace plimsoll
