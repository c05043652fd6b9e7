#include "formats/packed/packed_encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "base/error.h"
#include "formats/number_conversion.h"
#include "formats/packed/bnb4_state.h"
#include "quant/bnb/int8_blockwise.h"
#include "quant/bnb/llm_int8.h"
#include "quant/fp8.h"

namespace plimsoll {
namespace {

using Kind = PackedFormat::Kind;

// The JSON of a state is padded with spaces to this: its length depends on the numbers, the header is written first.
constexpr int64_t kStateBytes = 256;
constexpr int64_t kRowsAtOnce = 16;  // of a tile of work

Bnb4State state_of(const PackedFormat& format, int64_t rows, int64_t cols) {
  return {format.bnb4, format.block, format.restored, {rows, cols}, format.nested, format.nested_offset};
}

std::string_view path_of(const std::string& weight) {
  constexpr std::string_view kEnd = ".weight";
  PLIMSOLL_CHECK(weight.ends_with(kEnd), weight + " is the weight of no linear");
  return std::string_view(weight).substr(0, weight.size() - kEnd.size());
}

template <typename Body>
void each_row_tile(int64_t rows, ThreadPool& pool, Body body) {
  pool.parallel_for(ceil_div(rows, kRowsAtOnce), [&](int64_t tile, int) {
    body(tile, tile * kRowsAtOnce, std::min((tile + 1) * kRowsAtOnce, rows));
  });
}

void encode_bnb4(const PackedFormat& format, int64_t rows, int64_t cols, const float* values, ThreadPool& pool,
                 const std::vector<std::byte*>& at, std::byte* scratch) {
  const int64_t n = rows * cols, blocks = ceil_div(n, format.block);
  auto* absmax = reinterpret_cast<float*>(scratch);
  constexpr int64_t kBlocksAtOnce = 256;
  pool.parallel_for(ceil_div(blocks, kBlocksAtOnce), [&](int64_t tile, int) {
    const int64_t first = tile * kBlocksAtOnce * format.block;
    quantize_bnb4(format.bnb4, values + first, std::min(n - first, kBlocksAtOnce * format.block), format.block,
                  reinterpret_cast<uint8_t*>(at[0]) + first / 2, absmax + tile * kBlocksAtOnce);
  });
  Bnb4State state = state_of(format, rows, cols);
  std::memcpy(at[2], bnb4_values(format.bnb4).data(), 16 * sizeof(float));
  if (!format.nested) {
    std::memcpy(at[1], absmax, static_cast<size_t>(blocks) * sizeof(float));
  } else {
    std::vector<float> nested(static_cast<size_t>(ceil_div(blocks, kNestedBlock)));
    state.nested_offset = quantize_absmax(absmax, blocks, reinterpret_cast<uint8_t*>(at[1]), nested.data());
    std::memcpy(at[3], nested.data(), nested.size() * sizeof(float));
    std::memcpy(at[4], dynamic_table(true).values.data(), 256 * sizeof(float));
  }
  std::string text = write_bnb4_state(state);
  PLIMSOLL_CHECK(static_cast<int64_t>(text.size()) <= kStateBytes, "the state is longer than its place");
  text.resize(kStateBytes, ' ');
  std::memcpy(at.back(), text.data(), text.size());
}

void encode_fp8(const PackedFormat& format, int64_t rows, int64_t cols, const float* values, ThreadPool& pool,
                const std::vector<std::byte*>& at, std::byte* scratch) {
  const Fp8Tiling tiling{rows, cols, format.tile_rows > 0 ? format.tile_rows : rows,
                         format.tile_cols > 0 ? format.tile_cols : cols};
  auto* scales = reinterpret_cast<float*>(scratch);
  auto* bits = reinterpret_cast<uint8_t*>(at[0]);
  pool.parallel_for(tiling.row_tiles(),
                    [&](int64_t tile, int) { quantize_fp8_tiles(DType::f8_e4m3, tiling, tile, values, scales, bits); });
  const int64_t count = tiling.row_tiles() * tiling.col_tiles();
  encode_values(format.scale, {scales, static_cast<size_t>(count)}, at[1]);
  if (format.scale == DType::f32) return;
  // Scales are stored rounded: the bits that are nearest with these.
  decode_values(format.scale, at[1], {scales, static_cast<size_t>(count)});
  each_row_tile(rows, pool, [&](int64_t, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row)
      for (int64_t col = 0; col < cols; ++col) {
        const float scale = scales[row / tiling.tile_rows * tiling.col_tiles() + col / tiling.tile_cols];
        bits[row * cols + col] = f32_to_fp8_saturated(DType::f8_e4m3, values[row * cols + col] / scale);
      }
  });
}

// Adds a code to a stream of words that are zero so far.
void put_code(std::byte* words, int64_t stride, int64_t bit, int bits, uint32_t code) {
  const auto add = [&](int64_t word, uint32_t part) {
    uint32_t value = 0;
    std::memcpy(&value, words + word * stride * 4, 4);
    value |= part;
    std::memcpy(words + word * stride * 4, &value, 4);
  };
  const int within = static_cast<int>(bit % 32);
  add(bit / 32, code << within);
  if (within + bits > 32) add(bit / 32 + 1, code >> (32 - within));
}

void encode_integers(const PackedFormat& format, int64_t rows, int64_t cols, const float* values,
                     const AffineGroup* groups, ThreadPool& pool, const std::vector<std::byte*>& at) {
  const AffineFormat affine = affine_format(format);
  const int64_t group_count = cols / format.group, row_bytes = ceil_div(cols * format.bits, 32) * 4;
  const int64_t scale_bytes = dtype_bytes(format.scale, 1);
  const int offset = -affine.least();
  each_row_tile(rows, pool, [&](int64_t, int64_t first, int64_t last) {
    std::vector<uint8_t> codes(static_cast<size_t>(format.group));
    std::memset(at[0] + first * row_bytes, 0, static_cast<size_t>((last - first) * row_bytes));
    for (int64_t row = first; row < last; ++row)
      for (int64_t g = 0; g < group_count; ++g) {
        const AffineGroup& group = groups[row * group_count + g];
        encode_affine_group(affine, group, values + row * cols + g * format.group, format.group, codes.data());
        for (int64_t i = 0; i < format.group; ++i) {
          const int code =
              format.symmetric ? static_cast<int8_t>(codes[static_cast<size_t>(i)]) : codes[static_cast<size_t>(i)];
          put_code(at[0] + row * row_bytes, 1, (g * format.group + i) * format.bits, format.bits,
                   static_cast<uint32_t>(code + offset));
        }
        encode_values(format.scale, {&group.scale, 1}, at[1] + (row * group_count + g) * scale_bytes);
      }
  });
  const size_t shape_at = format.symmetric ? 2 : 3;
  if (!format.symmetric) {
    std::memset(at[2], 0, static_cast<size_t>(ceil_div(rows * format.bits, 32) * group_count * 4));
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t g = 0; g < group_count; ++g)
        put_code(at[2] + g * 4, group_count, row * format.bits, format.bits,
                 static_cast<uint32_t>(groups[row * group_count + g].zero));
  }
  const std::array<int64_t, 2> shape = {rows, cols};
  std::memcpy(at[shape_at], shape.data(), sizeof(shape));
}

int64_t scratch_bytes(const PackedFormat& format, int64_t rows, int64_t cols) {
  if (format.kind == Kind::bnb4) return ceil_div(rows * cols, format.block) * 4;
  if (format.kind != Kind::fp8_tiles) return 0;
  const int64_t down = format.tile_rows > 0 ? ceil_div(rows, format.tile_rows) : 1;
  return down * (format.tile_cols > 0 ? ceil_div(cols, format.tile_cols) : 1) * 4;
}

}  // namespace

double SquaredError::relative() const { return total > 0 ? std::sqrt(error / total) : 0.0; }

SquaredError& SquaredError::operator+=(const SquaredError& other) {
  error += other.error;
  total += other.total;
  return *this;
}

AffineFormat affine_format(const PackedFormat& format) { return {.bits = format.bits, .symmetric = format.symmetric}; }

float rounded_scale(DType stored, float scale) {
  std::array<std::byte, 4> bytes{};
  encode_values(stored, {&scale, 1}, bytes.data());
  float out = 0;
  decode_values(stored, bytes.data(), {&out, 1});
  // A scale below the least of its type would make every code meaningless.
  return out > 0 && std::isfinite(out) ? out : (out > 0 ? 65504.0F : 0x1p-24F);
}

void choose_groups(const PackedFormat& format, Clipping clipping, double percentile, const float* values, int64_t rows,
                   int64_t cols, ThreadPool& pool, AffineGroup* groups) {
  AffineFormat affine = affine_format(format);
  affine.clipping = clipping;
  affine.percentile = percentile;
  const int64_t count = cols / format.group;
  each_row_tile(rows, pool, [&](int64_t, int64_t first, int64_t last) {
    std::vector<uint8_t> codes(static_cast<size_t>(format.group));
    std::vector<float> scratch(static_cast<size_t>(format.group));
    for (int64_t i = first * count; i < last * count; ++i) {
      groups[i] = quantize_affine_group(affine, values + i * format.group, format.group, scratch.data(), codes.data());
      groups[i].scale = rounded_scale(format.scale, groups[i].scale);
    }
  });
}

std::vector<SafetensorsOutput> packed_outputs(const PackedFormat& format, const std::string& weight, int64_t rows,
                                              int64_t cols) {
  const std::string path(path_of(weight));
  switch (format.kind) {
    case Kind::bnb4: {
      std::vector<SafetensorsOutput> out = bnb4_tensors(weight, state_of(format, rows, cols));
      out.back().shape = {kStateBytes};
      return out;
    }
    case Kind::int8_rows:
      return {{weight, DType::i8, {rows, cols}},
              {path + ".SCB", DType::f32, {rows}},
              {path + ".weight_format", DType::u8, Shape{}}};
    case Kind::fp8_tiles: {
      const Shape scales = format.tile_rows > 0 ? Shape{ceil_div(rows, format.tile_rows),
                                                        format.tile_cols > 0 ? ceil_div(cols, format.tile_cols) : 1}
                                                : Shape{1};
      return {{weight, DType::f8_e4m3, {rows, cols}},
              {weight + (format.inverse_name ? "_scale_inv" : "_scale"), format.scale, scales}};
    }
    case Kind::integers: {
      const int64_t groups = cols / format.group;
      std::vector<SafetensorsOutput> out = {{weight + "_packed", DType::i32, {rows, ceil_div(cols * format.bits, 32)}},
                                            {weight + "_scale", format.scale, {rows, groups}}};
      if (!format.symmetric)
        out.push_back({weight + "_zero_point", DType::i32, {ceil_div(rows * format.bits, 32), groups}});
      out.push_back({weight + "_shape", DType::i64, {2}});
      return out;
    }
  }
  return {};
}

int64_t packed_stored_bytes(const PackedFormat& format, int64_t rows, int64_t cols) {
  int64_t bytes = 0;
  for (const SafetensorsOutput& output : packed_outputs(format, "a.weight", rows, cols)) bytes += output.bytes();
  return bytes;
}

int64_t packed_encode_bytes(const PackedFormat& format, int64_t rows, int64_t cols) {
  return round_up(packed_stored_bytes(format, rows, cols), alignof(float)) + scratch_bytes(format, rows, cols);
}

SquaredError encode_packed(const PackedFormat& format, int64_t rows, int64_t cols, const float* values,
                           const AffineGroup* groups, ThreadPool& pool, std::span<std::byte> out) {
  PLIMSOLL_CHECK(static_cast<int64_t>(out.size()) >= packed_encode_bytes(format, rows, cols),
                 "the buffer is too small");
  std::vector<std::byte*> at;
  int64_t used = 0;
  for (const SafetensorsOutput& output : packed_outputs(format, "a.weight", rows, cols)) {
    at.push_back(out.data() + used);
    used += output.bytes();
  }
  std::byte* scratch = out.data() + round_up(used, alignof(float));
  PackedFormat stored = format;
  PackedPointers parts{};
  switch (format.kind) {
    case Kind::bnb4:
      encode_bnb4(format, rows, cols, values, pool, at, scratch);
      parts = {at[0], at[1], format.nested ? at[3] : nullptr};
      if (format.nested) {
        const std::string_view text(reinterpret_cast<const char*>(at.back()), kStateBytes);
        stored.nested_offset = parse_bnb4_state(text, "written").nested_offset;
      }
      break;
    case Kind::int8_rows:
      each_row_tile(rows, pool, [&](int64_t, int64_t first, int64_t last) {
        std::array<float, kRowsAtOnce> absmax{};
        quantize_rows_int8(values + first * cols, last - first, cols, reinterpret_cast<int8_t*>(at[0]) + first * cols,
                           absmax.data());
        std::memcpy(at[1] + first * 4, absmax.data(), static_cast<size_t>(last - first) * 4);
      });
      *at[2] = std::byte{0};
      parts = {at[0], at[1], nullptr};
      break;
    case Kind::fp8_tiles:
      encode_fp8(format, rows, cols, values, pool, at, scratch);
      parts = {at[0], at[1], nullptr};
      break;
    case Kind::integers:
      encode_integers(format, rows, cols, values, groups, pool, at);
      parts = {at[0], at[1], format.symmetric ? nullptr : at[2]};
      break;
  }
  std::vector<SquaredError> sums(static_cast<size_t>(ceil_div(rows, kRowsAtOnce)));
  each_row_tile(rows, pool, [&](int64_t tile, int64_t first, int64_t last) {
    std::vector<float> restored(static_cast<size_t>((last - first) * cols));
    const PackedRanges ranges = packed_ranges(stored, rows, cols, first, last - first);
    PackedPointers from = parts;
    for (size_t i = 0; i < from.size(); ++i)
      if (from[i] != nullptr) from[i] += ranges[i].offset;
    restore_packed(stored, rows, cols, first, last - first, from, restored.data());
    SquaredError& sum = sums[static_cast<size_t>(tile)];
    for (size_t i = 0; i < restored.size(); ++i) {
      const double value = values[first * cols + static_cast<int64_t>(i)];
      const double off = static_cast<double>(restored[i]) - value;
      sum.error += off * off;
      sum.total += value * value;
    }
  });
  SquaredError all;
  for (const SquaredError& sum : sums) all += sum;
  return all;
}

QuantizationConfig quantization_config_of(const PackedFormat& format, DType rest) {
  using Method = QuantizationConfig::Method;
  QuantizationConfig out;
  switch (format.kind) {
    case Kind::bnb4:
      out.method = Method::bnb_4bit;
      out.bnb_type = format.bnb4 == Bnb4Type::nf4 ? "nf4" : "fp4";
      out.double_quant = format.nested;
      out.compute_dtype = rest == DType::f32 ? "float32" : (rest == DType::f16 ? "float16" : "bfloat16");
      break;
    case Kind::int8_rows:
      out.method = Method::bnb_int8;
      break;
    case Kind::fp8_tiles:
      out.method = format.inverse_name ? Method::block_fp8 : Method::compressed_fp8;
      out.block_rows = format.tile_rows;
      out.block_cols = format.tile_cols;
      break;
    case Kind::integers:
      out.method = Method::packed_integers;
      out.bits = format.bits;
      out.symmetric = format.symmetric;
      out.rounded = !format.symmetric;  // transformers loads zero points only so
      break;
  }
  return out;
}

}  // namespace plimsoll
