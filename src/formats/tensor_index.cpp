#include "formats/tensor_index.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <optional>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "formats/number_conversion.h"
#include "formats/packed/packed_tensor.h"
#include "quant/packed_matrix.h"

namespace plimsoll {

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a pipe must not wait for a writer.
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) {
    if (errno == ENOENT || errno == ENOTDIR) throw caller_error(path_, "does not exist", "check the path");
    throw world_error(path_, "cannot be opened", "check the permissions of the file", errno);
  }
  struct stat status {};
  const bool known = ::fstat(fd_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    const int reason = errno;
    ::close(fd_);
    if (!known) throw world_error(path_, "cannot be examined", "check the file system", reason);
    throw caller_error(path_, S_ISDIR(status.st_mode) ? "is a folder, not a file" : "is not a regular file",
                       "give the path of a file");
  }
  size_ = status.st_size;
}

InputFile::~InputFile() { ::close(fd_); }

void InputFile::read(int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd_, out.data(), out.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw world_error(path_, "cannot be read", "check the disk that holds it", errno);
    if (got == 0) {
      throw world_error(path_, "ends at byte " + std::to_string(offset) + ", before the data that was asked for",
                        "the file is cut short or was changed meanwhile; fetch it again");
    }
    offset += got;
    out = out.subspan(static_cast<size_t>(got));
  }
}

const TensorEntry* TensorIndex::find(std::string_view name) const {
  const auto at =
      std::lower_bound(entries.begin(), entries.end(), name,
                       [](const TensorEntry& entry, std::string_view wanted) { return entry.name < wanted; });
  return at != entries.end() && at->name == name ? &*at : nullptr;
}

int64_t half_split_row(int64_t row, int64_t rows_per_head) {
  const int64_t head = row / rows_per_head, within = row % rows_per_head;
  return head * rows_per_head + (within % 2) * (rows_per_head / 2) + within / 2;
}

int64_t grouped_row(int64_t row, int64_t rows, const QkvRows& qkv) {
  const int64_t parts = qkv.group_heads + 2, head_dim = rows / (qkv.groups * parts);
  const int64_t head = row / head_dim, queries = qkv.groups * qkv.group_heads;
  const int64_t group = head < queries ? head / qkv.group_heads : (head - queries) % qkv.groups;
  const int64_t part = head < queries ? head % qkv.group_heads : qkv.group_heads + (head - queries) / qkv.groups;
  return (group * parts + part) * head_dim + row % head_dim;
}

namespace {

bool moves_rows(const TensorEntry& entry) { return entry.interleaved_heads != 0 || entry.qkv.groups != 0; }

int64_t model_row(const TensorEntry& entry, int64_t row) {
  if (entry.qkv.groups != 0) return grouped_row(row, entry.shape[0], entry.qkv);
  return half_split_row(row, entry.shape[0] / entry.interleaved_heads);
}

// The row of the file that each row of the model comes from.
std::vector<int64_t> stored_rows(const TensorEntry& entry) {
  std::vector<int64_t> stored(static_cast<size_t>(entry.shape[0]));
  for (int64_t row = 0; row < entry.shape[0]; ++row)
    stored[static_cast<size_t>(moves_rows(entry) ? model_row(entry, row) : row)] = row;
  return stored;
}

void check_readable(const InputFile& file, const std::string& name, DType dtype) {
  if (can_decode(dtype)) return;
  throw caller_error(file.path(),
                     "tensor " + name + " is stored as " + std::string(dtype_name(dtype)) +
                         ", which holds no weights that can be read",
                     "use a file with F32, F16, BF16 or GGUF block types");
}

// Decodes `count` values and writes them as `target`, by way of a small array that stays in cache.
void convert_values(DType from, const std::byte* in, int64_t count, DType target, std::byte* out) {
  const DTypeInfo& stored = dtype_info(from);
  if (target == DType::f32 && reinterpret_cast<uintptr_t>(out) % alignof(float) == 0) {
    decode_values(from, in, {reinterpret_cast<float*>(out), static_cast<size_t>(count)});
    return;
  }
  std::array<float, 1024> values;
  const int64_t target_bytes = dtype_info(target).block_bytes;
  for (int64_t done = 0; done < count;) {
    const int64_t part = std::min<int64_t>(count - done, static_cast<int64_t>(values.size()));
    const std::span<float> span(values.data(), static_cast<size_t>(part));
    decode_values(from, in + done / stored.block_elements * stored.block_bytes, span);
    encode_values(target, span, out + done * target_bytes);
    done += part;
  }
}

// Stored rows become columns; a strip of rows at a time, as many as the staging buffer holds.
void load_transposed(const InputFile& file, const TensorEntry& entry, DType target, std::span<std::byte> out,
                     std::span<std::byte> staging) {
  const int64_t width = entry.shape[0], rows = entry.shape[1];  // as stored
  const int64_t row_bytes = dtype_bytes(entry.dtype, width), target_bytes = dtype_info(target).block_bytes;
  const int64_t rows_per_read = static_cast<int64_t>(staging.size()) / row_bytes;
  const DTypeInfo& stored = dtype_info(entry.dtype);
  std::array<float, 1024> values;
  for (int64_t first = 0; first < rows; first += rows_per_read) {
    const int64_t count = std::min(rows_per_read, rows - first);
    file.read(entry.offset + first * row_bytes, staging.first(static_cast<size_t>(count * row_bytes)));
    for (int64_t row = first; row < first + count; ++row) {
      for (int64_t done = 0; done < width;) {
        const int64_t part = std::min<int64_t>(width - done, static_cast<int64_t>(values.size()));
        const std::span<float> span(values.data(), static_cast<size_t>(part));
        const std::byte* from = staging.data() + (row - first) * row_bytes;
        decode_values(entry.dtype, from + done / stored.block_elements * stored.block_bytes, span);
        for (int64_t i = 0; i < part; ++i)
          encode_values(target, span.subspan(static_cast<size_t>(i), 1),
                        out.data() + ((done + i) * rows + row) * target_bytes);
        done += part;
      }
    }
  }
}

// Rows from `first` on, as decode_values reads them. Hugging Face's mxfp4 becomes GGUF's: each block its scale and 16
// bytes, in which value i and i + 16 share a byte, not 2i and 2i + 1.
void read_turned_rows(const TensorIndex& index, const TurnedExperts& experts, const TurnedExperts::Part& part,
                      int64_t first, int64_t rows, std::span<std::byte> out) {
  const int64_t row_bytes = dtype_bytes(part.dtype, experts.inputs);
  const InputFile& file = *index.files[static_cast<size_t>(part.file)];
  if (part.scale_file < 0) return file.read(part.offset + first * row_bytes, out);
  constexpr int64_t kValues = 32, kCodeBytes = kValues / 2;
  constexpr auto kLow = std::byte{0x0F};
  const int64_t blocks = experts.inputs / kValues;
  std::vector<std::byte> codes(static_cast<size_t>(blocks * kCodeBytes)), scales(static_cast<size_t>(blocks));
  for (int64_t row = 0; row < rows; ++row) {
    file.read(part.offset + (first + row) * blocks * kCodeBytes, codes);
    index.files[static_cast<size_t>(part.scale_file)]->read(part.scale_offset + (first + row) * blocks, scales);
    std::byte* block = out.data() + row * row_bytes;
    for (int64_t b = 0; b < blocks; ++b, block += kCodeBytes + 1) {
      block[0] = scales[static_cast<size_t>(b)];
      const std::byte* pairs = codes.data() + b * kCodeBytes;
      const auto code = [&](int64_t value) {
        return (value % 2 == 0 ? pairs[value / 2] : pairs[value / 2] >> 4) & kLow;
      };
      for (int64_t i = 0; i < kCodeBytes; ++i) block[1 + i] = code(i) | (code(i + kCodeBytes) << 4);
    }
  }
}

// Rows and columns of a tile of turned experts that are decoded together; columns are whole blocks of every type.
constexpr int64_t kTurnedRows = 16, kTurnedColumns = 256;

int64_t turned_row_bytes(const TurnedExperts& experts) {
  int64_t bytes = 0;
  for (const TurnedExperts::Part& part : experts.parts) bytes += dtype_bytes(part.dtype, experts.inputs);
  return bytes;
}

// Each tile: rows of all parts, decoded, then written input by input, so that neighbours in memory come together.
void load_turned(const TensorIndex& index, const TensorEntry& entry, DType target, std::span<std::byte> out,
                 std::span<std::byte> staging) {
  const TurnedExperts& experts = *entry.turned;
  const auto parts = static_cast<int64_t>(experts.parts.size());
  const int64_t target_bytes = dtype_info(target).block_bytes, width = experts.outputs * parts;
  const int64_t rows_at_once =
      std::clamp<int64_t>(static_cast<int64_t>(staging.size()) / turned_row_bytes(experts), 1, kTurnedRows);
  std::vector<float> tile(static_cast<size_t>(parts * kTurnedRows * kTurnedColumns));
  std::vector<float> line(static_cast<size_t>(parts * kTurnedRows));
  for (int64_t expert = 0; expert < experts.experts; ++expert) {
    for (int64_t first = 0; first < experts.outputs; first += rows_at_once) {
      const int64_t rows = std::min(rows_at_once, experts.outputs - first);
      std::vector<std::span<const std::byte>> stored;
      int64_t used = 0;
      for (const TurnedExperts::Part& part : experts.parts) {
        check_readable(*index.files[static_cast<size_t>(part.file)], entry.stored_name, part.dtype);
        const int64_t row_bytes = dtype_bytes(part.dtype, experts.inputs);
        const auto bytes = staging.subspan(static_cast<size_t>(used), static_cast<size_t>(rows * row_bytes));
        read_turned_rows(index, experts, part, expert * experts.outputs + first, rows, bytes);
        stored.push_back(bytes);
        used += rows * row_bytes;
      }
      for (int64_t column = 0; column < experts.inputs; column += kTurnedColumns) {
        const int64_t columns = std::min(kTurnedColumns, experts.inputs - column);
        for (int64_t p = 0; p < parts; ++p)
          for (int64_t row = 0; row < rows; ++row) {
            const DType dtype = experts.parts[static_cast<size_t>(p)].dtype;
            float* values = tile.data() + (p * kTurnedRows + row) * kTurnedColumns;
            decode_values(dtype,
                          stored[static_cast<size_t>(p)].data() + row * dtype_bytes(dtype, experts.inputs) +
                              dtype_bytes(dtype, column),
                          {values, static_cast<size_t>(columns)});
          }
        for (int64_t i = 0; i < columns; ++i) {
          for (int64_t row = 0; row < rows; ++row)
            for (int64_t p = 0; p < parts; ++p)
              line[static_cast<size_t>(row * parts + p)] =
                  tile[static_cast<size_t>((p * kTurnedRows + row) * kTurnedColumns + i)];
          const int64_t at = (expert * experts.inputs + column + i) * width + first * parts;
          encode_values(target, {line.data(), static_cast<size_t>(rows * parts)}, out.data() + at * target_bytes);
        }
      }
    }
  }
}

// A vector of f32, less entry.added.
void load_shifted(const InputFile& file, const TensorEntry& entry, DType target, std::span<std::byte> out) {
  const int64_t elements = entry.shape.elements(), target_bytes = dtype_info(target).block_bytes;
  std::array<float, 1024> values;
  for (int64_t first = 0; first < elements;) {
    const int64_t count = std::min<int64_t>(elements - first, static_cast<int64_t>(values.size()));
    const std::span<float> part(values.data(), static_cast<size_t>(count));
    file.read(entry.offset + first * static_cast<int64_t>(sizeof(float)), std::as_writable_bytes(part));
    for (float& value : part) value -= entry.added;
    encode_values(target, part, out.data() + first * target_bytes);
    first += count;
  }
}

}  // namespace

int64_t min_staging_bytes(const TensorEntry& entry) {
  if (entry.packed) return min_packed_staging_bytes(entry);
  if (entry.turned) return turned_row_bytes(*entry.turned);
  const DTypeInfo& stored = dtype_info(entry.dtype);
  if (entry.transposed) return dtype_bytes(entry.dtype, entry.shape[0]);
  if (!moves_rows(entry)) return stored.block_bytes;
  return entry.shape.rank() < 1 ? 0 : entry.bytes / std::max<int64_t>(entry.shape[0], 1);
}

void load_tensor(const TensorIndex& index, const TensorEntry& entry, DType target, std::span<std::byte> out,
                 std::span<std::byte> staging) {
  if (is_packed(target)) return load_as_packed(index, entry, target, out, staging);
  PLIMSOLL_CHECK(target == DType::f32 || target == DType::bf16 || target == DType::f16, "not a type to load into");
  const int64_t elements = entry.shape.elements();
  const int64_t target_bytes = dtype_info(target).block_bytes;
  PLIMSOLL_CHECK(static_cast<int64_t>(out.size()) == elements * target_bytes,
                 "the buffer has another size: " + entry.name);
  PLIMSOLL_CHECK(static_cast<int64_t>(staging.size()) >= min_staging_bytes(entry), "staging is too small");
  if (entry.packed && elements > 0) return load_packed_tensor(index, entry, target, out, staging);
  if (entry.turned && elements > 0) return load_turned(index, entry, target, out, staging);
  const InputFile& file = *index.files[static_cast<size_t>(entry.file)];
  check_readable(file, entry.stored_name, entry.dtype);
  if (elements == 0) return;
  if (entry.transposed) return load_transposed(file, entry, target, out, staging);
  if (entry.added != 0) return load_shifted(file, entry, target, out);
  if (entry.dtype == target && !moves_rows(entry)) {
    file.read(entry.offset, out);
    return;
  }

  // Unit: what is converted in one go; a row where rows move, else a block.
  const DTypeInfo& stored = dtype_info(entry.dtype);
  const int64_t rows = moves_rows(entry) ? entry.shape[0] : 0;
  const int64_t unit_elements = rows != 0 ? elements / rows : stored.block_elements;
  const int64_t unit_bytes = dtype_bytes(entry.dtype, unit_elements);
  const int64_t units = elements / unit_elements;
  const int64_t units_per_read = static_cast<int64_t>(staging.size()) / unit_bytes;
  for (int64_t unit = 0; unit < units; unit += units_per_read) {
    const int64_t count = std::min(units_per_read, units - unit);
    file.read(entry.offset + unit * unit_bytes, staging.first(static_cast<size_t>(count * unit_bytes)));
    if (rows == 0) {
      convert_values(entry.dtype, staging.data(), count * unit_elements, target,
                     out.data() + unit * unit_elements * target_bytes);
      continue;
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = model_row(entry, unit + i);
      convert_values(entry.dtype, staging.data() + i * unit_bytes, unit_elements, target,
                     out.data() + row * unit_elements * target_bytes);
    }
  }
}

void load_as_packed(const TensorIndex& index, const TensorEntry& entry, DType target, std::span<std::byte> out,
                    std::span<std::byte> staging) {
  const InputFile& file = *index.files[static_cast<size_t>(entry.file)];
  if (entry.packed) {
    if (packed_dtype(entry.packed->format) == target) return read_packed_matrix(index, entry, out);
    throw caller_error("--quant",
                       entry.name + " is quantized already, as something else than " + std::string(dtype_name(target)),
                       "give --quant stored, or none");
  }
  check_readable(file, entry.stored_name, entry.dtype);
  PLIMSOLL_CHECK(can_pack(target, entry.shape), "a matrix that can be packed so");
  PLIMSOLL_CHECK(static_cast<int64_t>(out.size()) == tensor_bytes(target, entry.shape), "the buffer has another size");
  PLIMSOLL_CHECK(static_cast<int64_t>(staging.size()) >= packing_staging_bytes(target, entry.shape),
                 "staging is too small");
  if (entry.transposed)
    throw caller_error("--quant", entry.name + " lies transposed in the file", "convert the model with --quant none");
  const int64_t rows = entry.shape[0], cols = entry.shape[1];
  const bool as_stored = entry.dtype == target;
  if (as_stored && !moves_rows(entry)) return file.read(entry.offset, out);

  // Staging: what the packer needs, a row of values, rows as they are stored.
  const int64_t scratch_bytes = round_up(packer_scratch_bytes(target, rows, cols), 64);
  const std::span<float> values(reinterpret_cast<float*>(staging.data() + scratch_bytes), static_cast<size_t>(cols));
  const std::span<std::byte> read = staging.subspan(static_cast<size_t>(scratch_bytes + cols * 4));
  const int64_t row_bytes = dtype_bytes(entry.dtype, cols);
  const int64_t rows_per_read = moves_rows(entry) ? 1 : static_cast<int64_t>(read.size()) / row_bytes;
  const std::vector<int64_t> stored = stored_rows(entry);
  std::optional<MatrixPacker> packer;
  if (!as_stored) packer.emplace(target, rows, cols, out.data(), staging.first(static_cast<size_t>(scratch_bytes)));
  for (int64_t first = 0; first < rows; first += rows_per_read) {
    const int64_t count = std::min(rows_per_read, rows - first);
    file.read(entry.offset + stored[static_cast<size_t>(first)] * row_bytes,
              as_stored ? out.subspan(static_cast<size_t>(first * row_bytes), static_cast<size_t>(row_bytes))
                        : read.first(static_cast<size_t>(count * row_bytes)));
    for (int64_t i = 0; i < count && !as_stored; ++i) {
      decode_values(entry.dtype, read.data() + i * row_bytes, values);
      if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); }))
        throw caller_error(file.path(), "tensor " + entry.stored_name + " holds a value that is not a finite number",
                           "fetch the model again; such weights cannot be quantized");
      packer->add_row(values);
    }
  }
  if (packer) packer->finish();
}

int64_t packing_staging_bytes(DType target, const Shape& shape) {
  constexpr int64_t kRead = int64_t{1} << 20;
  constexpr int64_t kMostBytes = 8;  // of a stored value
  return round_up(packer_scratch_bytes(target, shape[0], shape[1]), 64) + shape[1] * 4 +
         std::max(kRead, shape[1] * kMostBytes);
}

}  // namespace plimsoll
