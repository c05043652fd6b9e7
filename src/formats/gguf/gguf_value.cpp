#include <cstring>
#include <limits>
#include <utility>

#include "base/error.h"
#include "formats/gguf/gguf.h"

namespace plimsoll {
namespace {

template <typename T>
T load(const std::vector<std::byte>& bytes, int64_t i) {
  T value;
  std::memcpy(&value, bytes.data() + static_cast<size_t>(i) * sizeof(T), sizeof(T));
  return value;
}

template <typename Result>
Result element(const GgufArray& array, int64_t i) {
  PLIMSOLL_CHECK(i >= 0 && i < array.count, "outside of the array");
  switch (array.type) {
    case GgufType::u8:
    case GgufType::boolean:
      return static_cast<Result>(load<uint8_t>(array.numbers, i));
    case GgufType::i8:
      return static_cast<Result>(load<int8_t>(array.numbers, i));
    case GgufType::u16:
      return static_cast<Result>(load<uint16_t>(array.numbers, i));
    case GgufType::i16:
      return static_cast<Result>(load<int16_t>(array.numbers, i));
    case GgufType::u32:
      return static_cast<Result>(load<uint32_t>(array.numbers, i));
    case GgufType::i32:
      return static_cast<Result>(load<int32_t>(array.numbers, i));
    case GgufType::u64:
      return static_cast<Result>(load<uint64_t>(array.numbers, i));
    case GgufType::i64:
      return static_cast<Result>(load<int64_t>(array.numbers, i));
    case GgufType::f32:
      return static_cast<Result>(load<float>(array.numbers, i));
    case GgufType::f64:
      return static_cast<Result>(load<double>(array.numbers, i));
    default:
      PLIMSOLL_CHECK(false, "not an array of numbers");
  }
  return Result{};
}

GgufValue make(GgufType type, decltype(GgufValue::value) value) {
  GgufValue out;
  out.type = type;
  out.value = std::move(value);
  return out;
}

}  // namespace

double GgufArray::number(int64_t i) const { return element<double>(*this, i); }

int64_t GgufArray::integer(int64_t i) const {
  if (type != GgufType::f32 && type != GgufType::f64) return element<int64_t>(*this, i);
  const double value = number(i);
  return value > -9e18 && value < 9e18 ? static_cast<int64_t>(value) : 0;
}

std::optional<int64_t> GgufValue::integer() const {
  if (const auto* value_u64 = std::get_if<uint64_t>(&value)) {
    if (*value_u64 > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(*value_u64);
  }
  if (const auto* value_i64 = std::get_if<int64_t>(&value)) return *value_i64;
  return std::nullopt;
}

std::optional<double> GgufValue::number() const {
  if (const auto* value_f64 = std::get_if<double>(&value)) return *value_f64;
  if (const auto value_i64 = integer()) return static_cast<double>(*value_i64);
  return std::nullopt;
}

std::optional<bool> GgufValue::boolean() const {
  const auto* flag = std::get_if<bool>(&value);
  return flag != nullptr ? std::optional(*flag) : std::nullopt;
}

const std::string* GgufValue::text() const { return std::get_if<std::string>(&value); }
const GgufArray* GgufValue::array() const { return std::get_if<GgufArray>(&value); }

GgufValue gguf_u32(int64_t value) {
  PLIMSOLL_CHECK(value >= 0 && value <= std::numeric_limits<uint32_t>::max(), "no u32");
  return make(GgufType::u32, static_cast<uint64_t>(value));
}
GgufValue gguf_f32(double value) { return make(GgufType::f32, value); }
GgufValue gguf_bool(bool value) { return make(GgufType::boolean, value); }
GgufValue gguf_text(std::string value) { return make(GgufType::text, std::move(value)); }

GgufValue gguf_texts(GgufTexts texts) {
  GgufArray array;
  array.type = GgufType::text;
  array.count = texts.size();
  array.texts = std::move(texts);
  return make(GgufType::array, std::move(array));
}

GgufValue gguf_i32s(std::span<const int32_t> values) {
  GgufArray array;
  array.type = GgufType::i32;
  array.count = static_cast<int64_t>(values.size());
  const auto bytes = std::as_bytes(values);
  array.numbers.assign(bytes.begin(), bytes.end());
  return make(GgufType::array, std::move(array));
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = metadata.find(key);
  return found == metadata.end() ? nullptr : &found->second;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  for (const GgufTensor& tensor : tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

}  // namespace plimsoll
