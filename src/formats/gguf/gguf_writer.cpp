#include "formats/gguf/gguf_writer.h"

#include <cstring>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {
namespace {

constexpr int64_t kAlignment = 32;  // the format's default, so general.alignment need not be written

template <typename T>
void put(OutputFile& out, T value) {
  out.write(std::as_bytes(std::span(&value, 1)));
}

void put_text(OutputFile& out, std::string_view text) {
  put(out, static_cast<uint64_t>(text.size()));
  out.write(text);
}

void put_array(OutputFile& out, const GgufArray& array) {
  put(out, static_cast<uint32_t>(array.type));
  put(out, static_cast<uint64_t>(array.count));
  out.write(std::span<const std::byte>(array.numbers));
  for (int64_t i = 0; i < array.texts.size(); ++i) put_text(out, array.texts[i]);
  for (const GgufArray& inner : array.arrays) put_array(out, inner);
}

void put_value(OutputFile& out, const GgufValue& value) {
  put(out, static_cast<uint32_t>(value.type));
  const auto number = [&]<typename Held>(auto as) { put(out, static_cast<decltype(as)>(std::get<Held>(value.value))); };
  switch (value.type) {
    case GgufType::u8:
      return number.operator()<uint64_t>(uint8_t{});
    case GgufType::u16:
      return number.operator()<uint64_t>(uint16_t{});
    case GgufType::u32:
      return number.operator()<uint64_t>(uint32_t{});
    case GgufType::u64:
      return number.operator()<uint64_t>(uint64_t{});
    case GgufType::i8:
      return number.operator()<int64_t>(int8_t{});
    case GgufType::i16:
      return number.operator()<int64_t>(int16_t{});
    case GgufType::i32:
      return number.operator()<int64_t>(int32_t{});
    case GgufType::i64:
      return number.operator()<int64_t>(int64_t{});
    case GgufType::f32:
      return number.operator()<double>(float{});
    case GgufType::f64:
      return number.operator()<double>(double{});
    case GgufType::boolean:
      return number.operator()<bool>(uint8_t{});
    case GgufType::text:
      return put_text(out, std::get<std::string>(value.value));
    case GgufType::array:
      return put_array(out, std::get<GgufArray>(value.value));
  }
}

}  // namespace

GgufWriter::GgufWriter(const std::string& path, const GgufMetadata& metadata, const std::vector<GgufOutput>& tensors)
    : file_(path) {
  PLIMSOLL_CHECK(!metadata.contains("general.alignment"), "the alignment is the default one");
  file_.write("GGUF");
  put(file_, uint32_t{3});
  put(file_, static_cast<uint64_t>(tensors.size()));
  put(file_, static_cast<uint64_t>(metadata.size()));
  for (const auto& [key, value] : metadata) {
    put_text(file_, key);
    put_value(file_, value);
  }
  int64_t offset = 0;
  for (const GgufOutput& tensor : tensors) {
    const int type = dtype_info(tensor.dtype).gguf_type;
    PLIMSOLL_CHECK(type >= 0 && tensor.shape.rank() <= 4, "GGUF has no such tensor: " + tensor.name);
    put_text(file_, tensor.name);
    put(file_, static_cast<uint32_t>(tensor.shape.rank()));
    for (int axis = tensor.shape.rank() - 1; axis >= 0; --axis) put(file_, static_cast<uint64_t>(tensor.shape[axis]));
    put(file_, static_cast<uint32_t>(type));
    put(file_, static_cast<uint64_t>(offset));
    bytes_left_.push_back(tensor.bytes());
    offset = round_up(offset + tensor.bytes(), kAlignment);
  }
  file_.write_zeros(round_up(file_.written_bytes(), kAlignment) - file_.written_bytes());
  file_.reserve(offset);
  skip_empty();
}

void GgufWriter::skip_empty() {
  while (current_ < bytes_left_.size() && bytes_left_[current_] == 0) {
    file_.write_zeros(round_up(file_.written_bytes(), kAlignment) - file_.written_bytes());
    ++current_;
  }
}

void GgufWriter::write(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  PLIMSOLL_CHECK(current_ < bytes_left_.size() && static_cast<int64_t>(bytes.size()) <= bytes_left_[current_],
                 "more bytes than the tensor has");
  bytes_left_[current_] -= static_cast<int64_t>(bytes.size());
  file_.write(bytes);
  skip_empty();
}

void GgufWriter::finish() {
  PLIMSOLL_CHECK(current_ == bytes_left_.size(), "fewer bytes than the tensors have");
  file_.finish();
}

}  // namespace plimsoll
