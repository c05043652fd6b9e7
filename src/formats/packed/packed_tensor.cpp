#include "formats/packed/packed_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "formats/number_conversion.h"
#include "formats/packed/bnb4_state.h"
#include "quant/bnb/int8_blockwise.h"

namespace plimsoll {
namespace {

using Kind = PackedFormat::Kind;
using Method = QuantizationConfig::Method;

constexpr int64_t kMaxStateBytes = 64 << 10;
constexpr std::string_view kBnb4State = ".quant_state.bitsandbytes__";

// Turns the tensors of one folder into entries of matrices.
class Resolver {
 public:
  Resolver(TensorIndex& index, const QuantizationConfig& config) : index_(index), config_(config) {}

  void run() {
    std::vector<TensorEntry> matrices;
    for (const TensorEntry& entry : index_.entries)
      if (std::optional<TensorEntry> matrix = matrix_of(entry)) matrices.push_back(std::move(*matrix));
    std::vector<TensorEntry> kept;
    for (TensorEntry& entry : index_.entries)
      if (!used_.contains(entry.name)) kept.push_back(std::move(entry));
    kept.insert(kept.end(), std::make_move_iterator(matrices.begin()), std::make_move_iterator(matrices.end()));
    std::sort(kept.begin(), kept.end(), [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
    for (size_t i = 1; i < kept.size(); ++i)
      if (kept[i].name == kept[i - 1].name) fail(kept[i].name, "is stored twice, quantized and not");
    index_.entries = std::move(kept);
  }

 private:
  // The matrix that `entry` is the mark of, if it is one.
  std::optional<TensorEntry> matrix_of(const TensorEntry& entry) {
    const std::string_view name = entry.name;
    switch (config_.method) {
      case Method::bnb_4bit:
        if (const size_t at = name.find(kBnb4State); at != std::string_view::npos)
          return bnb4(entry, std::string(name.substr(0, at)));
        break;
      case Method::bnb_int8:
        if (name.ends_with(".SCB")) return int8_rows(std::string(name.substr(0, name.size() - 4)));
        break;
      case Method::packed_integers:
        if (name.ends_with(".weight_packed")) return integers(std::string(name.substr(0, name.size() - 14)));
        break;
      case Method::mxfp4:
        if (name.ends_with(".gate_up_proj_blocks") || name.ends_with(".down_proj_blocks")) return mxfp4(entry);
        break;
      case Method::compressed_fp8:
      case Method::block_fp8:
        if (entry.dtype == DType::f8_e4m3 && name.ends_with(".weight"))
          return fp8(std::string(name.substr(0, name.size() - 7)));
        break;
    }
    return std::nullopt;
  }

  [[noreturn]] void fail(const std::string& tensor, const std::string& problem) const {
    const std::string file = index_.files.empty() ? "the model" : index_.files.front()->path();
    throw caller_error(file, fmt::format("tensor {} {}", tensor, problem),
                       "save the model again, or take the one that is not quantized");
  }

  const TensorEntry& part(const std::string& name, DType dtype, const Shape& shape) {
    const TensorEntry& found = part(name);
    if (found.dtype != dtype || found.shape != shape)
      fail(name, fmt::format("is {} {}, {} {} is needed", dtype_name(found.dtype), to_string(found.shape),
                             dtype_name(dtype), to_string(shape)));
    return found;
  }
  const TensorEntry& part(const std::string& name) {
    const TensorEntry* found = index_.find(name);
    if (found == nullptr) fail(name, "is missing");
    used_.insert(name);
    return *found;
  }
  void drop(const std::string& name) {
    if (index_.find(name) != nullptr) used_.insert(name);
  }
  // f32, f16 or bf16 scales of that shape.
  const TensorEntry& scales(const std::string& name, const Shape& shape) {
    const DType dtype = part(name).dtype;
    if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16)
      fail(name, fmt::format("is {}, not f32, f16 or bf16", dtype_name(dtype)));
    return part(name, dtype, shape);
  }

  std::vector<std::byte> bytes_of(const TensorEntry& entry) const {
    std::vector<std::byte> bytes(static_cast<size_t>(entry.bytes));
    index_.files[static_cast<size_t>(entry.file)]->read(entry.offset, bytes);
    return bytes;
  }

  void expect_table(const std::string& name, std::span<const float> wanted) {
    const TensorEntry& table = part(name, DType::f32, {static_cast<int64_t>(wanted.size())});
    const std::vector<std::byte> bytes = bytes_of(table);
    for (size_t i = 0; i < wanted.size(); ++i) {
      float value = 0;
      std::memcpy(&value, bytes.data() + i * sizeof(float), sizeof(float));
      if (!(std::abs(value - wanted[i]) <= 1e-6F)) fail(name, "is not the code table of this format");
    }
  }

  // NAME_blocks u8 (experts, outputs, blocks, 16) and NAME_scales u8 (experts, outputs, blocks) are NAME (experts,
  // inputs, outputs). OCP Microscaling Formats v1.0.
  TensorEntry mxfp4(const TensorEntry& blocks) {
    constexpr int64_t kBlock = 32, kMostWidth = int64_t{1} << 22;
    const std::string path = blocks.name.substr(0, blocks.name.size() - std::string_view("_blocks").size());
    const Shape& shape = blocks.shape;
    if (blocks.dtype != DType::u8 || shape.rank() != 4 || shape[3] != kBlock / 2 || shape.elements() == 0 ||
        shape[2] > kMostWidth / kBlock)
      fail(blocks.name, fmt::format("of shape {} holds no blocks of 16 bytes", to_string(shape)));
    used_.insert(blocks.name);
    const TensorEntry& scale = part(path + "_scales", DType::u8, {shape[0], shape[1], shape[2]});
    TurnedExperts experts{shape[0], shape[2] * kBlock, shape[1], {}};
    experts.parts.push_back({DType::mxfp4, blocks.file, blocks.offset, scale.file, scale.offset});
    TensorEntry out = blocks;
    out.name = path;
    out.dtype = DType::mxfp4;
    out.shape = {shape[0], experts.inputs, experts.outputs};
    out.bytes += scale.bytes;
    out.turned = std::make_shared<TurnedExperts>(std::move(experts));
    return out;
  }

  TensorEntry matrix(const std::string& path, const Shape& shape, const PackedFormat& format,
                     const std::vector<const TensorEntry*>& parts) {
    auto packed = std::make_shared<PackedTensor>();
    packed->format = format;
    TensorEntry out = *parts.front();
    out.name = path;
    out.shape = shape;
    out.bytes = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      packed->parts[i] = {parts[i]->file, parts[i]->offset};
      out.bytes += parts[i]->bytes;
    }
    out.packed = std::move(packed);
    return out;
  }

  TensorEntry bnb4(const TensorEntry& mark, const std::string& weight) {
    if (mark.dtype != DType::u8 || mark.bytes > kMaxStateBytes) fail(mark.name, "is no state of bitsandbytes");
    const std::vector<std::byte> text = bytes_of(mark);
    const Bnb4State state = parse_bnb4_state({reinterpret_cast<const char*>(text.data()), text.size()},
                                             index_.files[static_cast<size_t>(mark.file)]->path() + ": " + mark.name);
    if (state.shape.rank() != 2) fail(weight, "is quantized, but no matrix");
    PackedFormat format;
    format.kind = Kind::bnb4;
    format.restored = state.dtype;
    format.bnb4 = state.type;
    format.block = state.block;
    format.nested = state.nested;
    format.nested_offset = state.nested_offset;
    used_.insert(mark.name);
    expect_table(weight + ".quant_map", bnb4_values(state.type));
    const TensorEntry& codes = part(weight, DType::u8, {bnb4_packed_bytes(state.shape.elements()), 1});
    const int64_t blocks = state.blocks();
    const TensorEntry& absmax = part(weight + ".absmax", state.nested ? DType::u8 : DType::f32, {blocks});
    if (!state.nested) return matrix(weight, state.shape, format, {&codes, &absmax});
    expect_table(weight + ".nested_quant_map", dynamic_table(true).values);
    const TensorEntry& nested = part(weight + ".nested_absmax", DType::f32, {ceil_div(blocks, kNestedBlock)});
    return matrix(weight, state.shape, format, {&codes, &absmax, &nested});
  }

  TensorEntry int8_rows(const std::string& path) {
    const TensorEntry& codes = part(path + ".weight");
    if (codes.dtype != DType::i8 || codes.shape.rank() != 2) fail(codes.name, "is no matrix of int8");
    const TensorEntry& absmax = part(path + ".SCB", DType::f32, {codes.shape[0]});
    if (index_.find(path + ".weight_format") != nullptr) {
      const TensorEntry& layout = part(path + ".weight_format", DType::u8, Shape{});
      if (bytes_of(layout).front() != std::byte{0})
        fail(layout.name, "is not 0: rows lie in an order that is not read");
    }
    PackedFormat format;
    format.kind = Kind::int8_rows;
    format.restored = DType::f32;
    return matrix(codes.name, codes.shape, format, {&codes, &absmax});
  }

  Shape shape_of(const std::string& name) {
    const TensorEntry& entry = part(name);
    if ((entry.dtype != DType::i64 && entry.dtype != DType::i32) || entry.shape != Shape{2})
      fail(name, "does not hold two sizes");
    const std::vector<std::byte> bytes = bytes_of(entry);
    std::array<int64_t, 2> sizes{};
    for (size_t i = 0; i < 2; ++i) {
      int32_t narrow = 0;
      if (entry.dtype == DType::i64) {
        std::memcpy(&sizes[i], bytes.data() + 8 * i, 8);
      } else {
        std::memcpy(&narrow, bytes.data() + 4 * i, 4);
        sizes[i] = narrow;
      }
      if (sizes[i] < 1 || sizes[i] > int64_t{1} << 31) fail(name, fmt::format("holds the size {}", sizes[i]));
    }
    return {sizes[0], sizes[1]};
  }

  TensorEntry integers(const std::string& path) {
    const std::string weight = path + ".weight";
    if (index_.find(weight + "_g_idx") != nullptr) fail(weight + "_g_idx", "reorders columns, which is not read");
    const Shape shape = shape_of(weight + "_shape");
    PackedFormat format;
    format.kind = Kind::integers;
    format.bits = config_.bits;
    format.symmetric = config_.symmetric;
    const Shape& of_scales = part(weight + "_scale").shape;
    const int64_t groups = of_scales.rank() == 2 ? of_scales[1] : 0;
    if (groups < 1 || shape[1] % groups != 0)
      fail(weight + "_scale",
           fmt::format("has shape {}, which does not divide {} columns", to_string(of_scales), shape[1]));
    format.group = shape[1] / groups;
    const auto words = [&](int64_t count) { return ceil_div(count * format.bits, 32); };
    const TensorEntry& codes = part(weight + "_packed", DType::i32, {shape[0], words(shape[1])});
    const TensorEntry& scale = scales(weight + "_scale", {shape[0], groups});
    format.scale = scale.dtype;
    format.restored = config_.rounded ? scale.dtype : DType::f32;
    if (format.symmetric) return matrix(weight, shape, format, {&codes, &scale});
    const TensorEntry& zeros = part(weight + "_zero_point", DType::i32, {words(shape[0]), groups});
    return matrix(weight, shape, format, {&codes, &scale, &zeros});
  }

  TensorEntry fp8(const std::string& path) {
    const std::string weight = path + ".weight";
    const TensorEntry& codes = part(weight);
    if (codes.shape.rank() != 2) fail(weight, "is fp8, but no matrix");
    PackedFormat format;
    format.kind = Kind::fp8_tiles;
    format.tile_rows = config_.block_rows;
    format.tile_cols = config_.block_cols;
    format.inverse_name = config_.method == Method::block_fp8;
    const std::string name = weight + (format.inverse_name ? "_scale_inv" : "_scale");
    const auto tiles = [](int64_t size, int64_t tile) { return tile > 0 ? ceil_div(size, tile) : 1; };
    const Shape wanted{tiles(codes.shape[0], format.tile_rows), tiles(codes.shape[1], format.tile_cols)};
    const TensorEntry& scale = scales(name, format.tile_rows == 0 && part(name).shape != wanted
                                                ? (part(name).shape.rank() == 0 ? Shape{} : Shape{1})
                                                : wanted);
    format.scale = scale.dtype;
    format.restored = config_.rounded ? scale.dtype : DType::f32;
    drop(path + ".input_scale");
    return matrix(weight, codes.shape, format, {&codes, &scale});
  }

  TensorIndex& index_;
  const QuantizationConfig& config_;
  std::set<std::string> used_;
};

}  // namespace

void resolve_packed_tensors(TensorIndex& index, const QuantizationConfig& config) { Resolver(index, config).run(); }

int64_t min_packed_staging_bytes(const TensorEntry& entry) {
  const PackedFormat& format = entry.packed->format;
  const int64_t cols = entry.shape[1];
  const PackedRanges ranges = packed_ranges(format, entry.shape[0], cols, 0, std::min<int64_t>(1, entry.shape[0]));
  int64_t bytes = ranges[0].bytes + ranges[1].bytes + ranges[2].bytes;
  // A row further down may begin within a block, or end within another word.
  if (format.kind == Kind::bnb4) bytes += format.block + (format.nested ? kNestedBlock : 0) + 4 * 4;
  if (format.kind == Kind::integers) bytes += ranges[2].bytes;
  return bytes + (cols + 1) * static_cast<int64_t>(sizeof(float));
}

void load_packed_tensor(const TensorIndex& index, const TensorEntry& entry, DType target, std::span<std::byte> out,
                        std::span<std::byte> staging) {
  const PackedTensor& packed = *entry.packed;
  const int64_t rows = entry.shape[0], cols = entry.shape[1], target_bytes = dtype_info(target).block_bytes;
  // Values first, for their alignment, then the parts.
  const auto misaligned = reinterpret_cast<uintptr_t>(staging.data()) % alignof(float);
  if (misaligned != 0) staging = staging.subspan(alignof(float) - misaligned);
  auto* values = reinterpret_cast<float*>(staging.data());
  const auto room = static_cast<int64_t>(staging.size());
  const auto ranges_of = [&](int64_t first, int64_t count) {
    return packed_ranges(packed.format, rows, cols, first, count);
  };
  const auto bytes_of = [&](const PackedRanges& ranges, int64_t count) {
    return count * cols * static_cast<int64_t>(sizeof(float)) + ranges[0].bytes + ranges[1].bytes + ranges[2].bytes;
  };
  for (int64_t first = 0; first < rows;) {
    int64_t count = std::min<int64_t>(rows - first, std::max<int64_t>(1, room / (cols * 5)));
    while (count > 1 && bytes_of(ranges_of(first, count), count) > room) count = (count + 1) / 2;
    const PackedRanges ranges = ranges_of(first, count);
    PLIMSOLL_CHECK(bytes_of(ranges, count) <= room, "staging is too small: " + entry.name);
    PackedPointers pointers{};
    auto used = static_cast<size_t>(count * cols) * sizeof(float);
    for (size_t i = 0; i < ranges.size(); ++i) {
      const std::span part = staging.subspan(used, static_cast<size_t>(ranges[i].bytes));
      if (!part.empty())
        index.files[static_cast<size_t>(packed.parts[i].file)]->read(packed.parts[i].offset + ranges[i].offset, part);
      pointers[i] = part.data();
      used += part.size();
    }
    restore_packed(packed.format, rows, cols, first, count, pointers, values);
    encode_values(target, {values, static_cast<size_t>(count * cols)}, out.data() + first * cols * target_bytes);
    first += count;
  }
}

std::optional<DType> packed_dtype(const PackedFormat& format) {
  if (format.kind == Kind::int8_rows) return DType::int8;
  if (format.kind != Kind::bnb4 || !format.nested || format.block != 64) return std::nullopt;
  return format.bnb4 == Bnb4Type::nf4 ? DType::nf4 : DType::fp4;
}

void read_packed_matrix(const TensorIndex& index, const TensorEntry& entry, std::span<std::byte> out) {
  const PackedTensor& packed = *entry.packed;
  const auto bytes = packed_part_bytes(packed.format, entry.shape[0], entry.shape[1]);
  int64_t at = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == 0) continue;
    // f32 parts begin at a multiple of 4: absmax of rows, absmax of blocks of absmax.
    if (i == bytes.size() - 1 || packed.format.kind == Kind::int8_rows) at = round_up(at, 4);
    index.files[static_cast<size_t>(packed.parts[i].file)]->read(
        packed.parts[i].offset, out.subspan(static_cast<size_t>(at), static_cast<size_t>(bytes[i])));
    at += bytes[i];
  }
  if (packed.format.kind == Kind::bnb4)
    std::memcpy(out.data() + at, &packed.format.nested_offset, sizeof(packed.format.nested_offset));
}

}  // namespace plimsoll
