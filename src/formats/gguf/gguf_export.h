// A language model as a GGUF file that llama.cpp loads: which tensors under which names and types, and the metadata.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "config/model_config.h"
#include "formats/gguf/gguf_file_type.h"
#include "formats/gguf/gguf_writer.h"

namespace plimsoll {

struct NamedShape {
  std::string name;  // Hugging Face's
  Shape shape;
};

struct GgufExportTensor {
  std::string hf_name;  // empty: a tensor that only GGUF has, its content in `values`
  GgufOutput output;
  QkvRows qkv = {};         // rows are written part by part
  bool transposed = false;  // (in, out) of the model is written as (out, in)
  float added = 0;          // to every value
  // Matrices that are one tensor (stacked, out, in) of the file: so many for the first of them, -1 for the others,
  // which follow it.
  int64_t stacked = 0;
  int part = 0, parts = 0;        // parts > 0: this one of the parts of the model's TurnedExperts
  int64_t interleaved_heads = 0;  // rows of q and k are written in the order of llama.cpp
  std::vector<float> values;
};

struct GgufExport {
  GgufMetadata metadata;
  std::vector<GgufExportTensor> tensors;  // in the order in which they must be written

  std::vector<GgufOutput> outputs() const;
};

// `tensors` of the model (lm_head of a tied model is left out), in the types that gguf_tensor_type says. `tokenizer` is
// the tokenizer.* part of the metadata: gguf_tokenizer_metadata, or tokenizer_keys of a GGUF source; empty writes a
// model without vocabulary. Throws a caller Error for what GGUF cannot express (dynamic rope, biases without a
// counterpart, unknown tensors).
GgufExport plan_gguf_export(const ModelConfig& config, const std::vector<NamedShape>& tensors, const GgufFileType& type,
                            const GgufMetadata& tokenizer, const std::string& model_name);

// The keys of a GGUF file that hold its tokenizer and chat template.
GgufMetadata tokenizer_keys(const GgufMetadata& metadata);

// Row `row` of those that write_gguf_tensor asks for, out of the model's tensor of `shape`. A row of a transposed
// tensor is a column of the model's, one of turned experts the inputs of one output.
void read_export_row(const GgufExportTensor& tensor, const Shape& shape, std::span<const float> values, int64_t row,
                     std::span<float> out);

// Writes one tensor. `read_row` fills one row in Hugging Face's order (a vector is one row of all its values, except
// that vectors whose rows move are rows of one value); rows come in any order and from any thread of `pool`. `staging`:
// at least gguf_staging_bytes(tensor), aligned for floats; as many rows as fit are converted at a time. Not called for
// tensors with `values`. `written`, where given, sees each row by its number in the file and what it became, from any
// thread.
using ReadRow = std::function<void(int64_t row, std::span<float> out)>;
using WrittenRow = std::function<void(int64_t number, std::span<const float> row, const std::byte* encoded)>;
void write_gguf_tensor(GgufWriter& writer, const GgufExportTensor& tensor, const ReadRow& read_row, ThreadPool& pool,
                       std::span<std::byte> staging, const WrittenRow& written = {});
int64_t gguf_staging_bytes(const GgufExportTensor& tensor);

}  // namespace plimsoll
