// Reading GGUF, versions 2 and 3, little-endian (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): metadata,
// then tensor infos, then the data. Only structure here; what the metadata mean stands in gguf_model.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "formats/tensor_index.h"

namespace plimsoll {

enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, text, array, u64, i64, f64 };

// Many texts in one piece of memory: a vocabulary of 150,000 tokens takes its bytes and 4 more each.
class GgufTexts {
 public:
  int64_t size() const { return static_cast<int64_t>(ends_.size()); }
  std::string_view operator[](int64_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[static_cast<size_t>(i) - 1];
    return std::string_view(pool_).substr(begin, ends_[static_cast<size_t>(i)] - begin);
  }
  void push_back(std::string_view text) { append(text), close(); }
  // A text in pieces: append what there is, then close.
  void append(std::string_view piece) { pool_ += piece; }
  void close() { ends_.push_back(static_cast<uint32_t>(pool_.size())); }
  void reserve(int64_t texts, int64_t bytes) {
    ends_.reserve(static_cast<size_t>(texts));
    pool_.reserve(static_cast<size_t>(bytes));
  }
  int64_t pool_bytes() const { return static_cast<int64_t>(pool_.size()); }

 private:
  std::string pool_;
  std::vector<uint32_t> ends_;
};

struct GgufValue;

struct GgufArray {
  GgufType type = GgufType::u8;  // of the elements
  int64_t count = 0;
  std::vector<std::byte> numbers;  // for numbers and booleans: as in the file
  GgufTexts texts;                 // for texts
  std::vector<GgufArray> arrays;   // for arrays

  double number(int64_t i) const;    // of a number or boolean, converted
  int64_t integer(int64_t i) const;  // likewise; a float is truncated
};

struct GgufValue {
  GgufType type = GgufType::u8;
  // uint64_t, int64_t, double, bool for the scalar types by sign and kind
  std::variant<uint64_t, int64_t, double, bool, std::string, GgufArray> value;

  // Empty where the value is of another kind (or an integer beyond int64).
  std::optional<int64_t> integer() const;
  std::optional<double> number() const;  // integers too
  std::optional<bool> boolean() const;
  const std::string* text() const;
  const GgufArray* array() const;
};

GgufValue gguf_u32(int64_t value);
GgufValue gguf_f32(double value);
GgufValue gguf_bool(bool value);
GgufValue gguf_text(std::string value);
GgufValue gguf_texts(GgufTexts texts);
GgufValue gguf_i32s(std::span<const int32_t> values);

using GgufMetadata = std::map<std::string, GgufValue, std::less<>>;

struct GgufTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;         // row-major: the reverse of the order in the file
  int64_t offset = 0;  // from the start of the file
  int64_t bytes = 0;
};

struct GgufFile {
  uint32_t version = 3;
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // in file order
  int64_t alignment = 32;

  const GgufValue* find(std::string_view key) const;           // nullptr when absent
  const GgufTensor* find_tensor(std::string_view name) const;  // nullptr when absent
};

// The bytes of a file by position: reads exactly out.size() bytes.
using ReadAt = std::function<void(int64_t offset, std::span<std::byte> out)>;

// Throws a caller Error for everything that is not as the format says: truncation, wrong magic or version, sizes beyond
// the file, duplicate names, tensors that overlap or leave the file, types that are not known here.
GgufFile parse_gguf(const ReadAt& read, int64_t file_bytes, std::string_view source);

GgufFile read_gguf(const InputFile& file);

}  // namespace plimsoll
