// Where every tensor of a model lies on disk. Nothing is mapped: reads are positioned reads into the caller's buffers,
// so that they are inside the memory plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"

namespace plimsoll {

// A read-only file. Reads are thread-safe.
class InputFile {
 public:
  explicit InputFile(std::string path);  // throws a caller Error (missing, a folder) or a world Error (unreadable)
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }
  // Reads exactly out.size() bytes at `offset`. Past the end or an I/O error: a world Error.
  void read(int64_t offset, std::span<std::byte> out) const;

 private:
  std::string path_;
  int fd_ = -1;
  int64_t size_ = 0;
};

// GGUF keeps a fused projection as [all q, all k, all v]; models that have (q heads, k, v) group by group say so here.
struct QkvRows {
  int64_t groups = 0;       // 0: rows lie as the model has them
  int64_t group_heads = 0;  // query heads of a group
  bool operator==(const QkvRows&) const = default;
};

// Experts that the model has as one tensor (experts, inputs, outputs · parts), where a file has them output by output:
// a tensor (experts, outputs, inputs) for each part. With two parts the model's outputs are theirs in turn: gate, up,
// gate, up, … Biases are this with one input.
struct TurnedExperts {
  struct Part {
    DType dtype = DType::f32;
    int file = 0;
    int64_t offset = 0;  // bytes from the start of the file
    // mxfp4 of Hugging Face folders: blocks of 16 bytes, neighbours in a byte, and their scales elsewhere. -1: GGUF's.
    int scale_file = -1;
    int64_t scale_offset = 0;
  };
  int64_t experts = 0, inputs = 0, outputs = 0;
  std::vector<Part> parts;
};

struct PackedTensor;

struct TensorEntry {
  std::string name;         // the model's own Hugging Face name, "model.layers.0.self_attn.q_proj.weight", GGUF too
  std::string stored_name;  // as in the file
  DType dtype = DType::f32;
  Shape shape;         // row-major, Hugging Face orientation
  int file = 0;        // index into TensorIndex::files
  int64_t offset = 0;  // bytes from the start of the file
  int64_t bytes = 0;
  // GGUF stores q and k of llama-type models with rows of each head interleaved (pairs 2i, 2i+1 for rope). Non-zero:
  // the number of heads; load_tensor puts the rows back into half-split order.
  int64_t interleaved_heads = 0;
  QkvRows qkv = {};
  bool transposed = false;  // stored (shape[1], shape[0])
  float added = 0;          // stored values are the model's and this; f32 vectors only
  // Set: dtype and offset are those of the first part, `bytes` is the sum.
  std::shared_ptr<const TurnedExperts> turned = {};
  // Set: a matrix kept quantized in several tensors (formats/packed/packed_tensor.h). Dtype and offset are those of the
  // codes, `bytes` is the sum.
  std::shared_ptr<const PackedTensor> packed = {};
};

struct TensorIndex {
  std::vector<std::shared_ptr<InputFile>> files;
  std::vector<TensorEntry> entries;  // sorted by name

  const TensorEntry* find(std::string_view name) const;  // nullptr when absent
};

// The row of the model that row `row` of an interleaved tensor holds, heads being `rows_per_head` rows each.
int64_t half_split_row(int64_t row, int64_t rows_per_head);
// The row of the model that row `row` of `rows` of a projection kept as [q, k, v] holds.
int64_t grouped_row(int64_t row, int64_t rows, const QkvRows& qkv);

// Reads a tensor, converted to `target` (f32, bf16 or f16; round to nearest even) in row-major order, into `out`
// (exactly shape.elements() values). `staging` is the only scratch used (at least min_staging_bytes(entry)); larger is
// faster. Thread rule: one caller per staging buffer.
void load_tensor(const TensorIndex& index, const TensorEntry& entry, DType target, std::span<std::byte> out,
                 std::span<std::byte> staging);
int64_t min_staging_bytes(const TensorEntry& entry);

// As load_tensor, into a packed matrix (quant/packed_matrix.h): as it is stored where that is the type, else quantized
// a row at a time. `out` has tensor_bytes. A value that is not finite is a caller Error.
void load_as_packed(const TensorIndex& index, const TensorEntry& entry, DType target, std::span<std::byte> out,
                    std::span<std::byte> staging);
int64_t packing_staging_bytes(DType target, const Shape& shape);

}  // namespace plimsoll
