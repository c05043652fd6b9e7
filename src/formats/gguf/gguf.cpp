#include "formats/gguf/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {
namespace {

constexpr uint64_t kMaxKeys = 1 << 16;
constexpr uint64_t kMaxGgufTensors = 1 << 18;
constexpr uint64_t kMaxNameBytes = 1024;
constexpr int64_t kMaxMetadataBytes = 256 * kMiB;  // of texts and arrays, in all
constexpr uint64_t kMaxNestedArrays = 1 << 12;     // in all
constexpr int kMaxNesting = 4;

// Sequential reading through a small buffer, with every size checked against the file before memory is taken.
class Reader {
 public:
  Reader(const ReadAt& read, int64_t file_bytes, std::string_view source)
      : read_(read), file_bytes_(file_bytes), source_(source) {}

  [[noreturn]] void fail(const std::string& problem) const {
    throw caller_error(source_, problem, "the file is damaged or not GGUF; fetch it again");
  }

  const std::string& source() const { return source_; }
  int64_t position() const { return position_; }
  uint64_t bytes_left() const { return static_cast<uint64_t>(file_bytes_ - position_); }

  void bytes(std::span<std::byte> out, const char* what) {
    if (out.size() > bytes_left()) fail(fmt::format("ends at byte {}, inside {}", file_bytes_, what));
    while (!out.empty()) {
      if (position_ < buffer_start_ || position_ >= buffer_start_ + buffered_) fill();
      const auto from = static_cast<size_t>(position_ - buffer_start_);
      const size_t count = std::min(out.size(), static_cast<size_t>(buffered_) - from);
      std::memcpy(out.data(), buffer_.data() + from, count);
      out = out.subspan(count);
      position_ += static_cast<int64_t>(count);
    }
  }

  template <typename T>
  T number(const char* what) {
    T value;
    bytes(std::as_writable_bytes(std::span(&value, 1)), what);
    return value;
  }

  // Takes `count` bytes of the allowance for metadata.
  void claim(uint64_t count, const char* what) {
    if (count > bytes_left())
      fail(fmt::format("says that {} takes {} bytes, but has {} left", what, count, bytes_left()));
    if (count > allowance_) fail(fmt::format("has more metadata than any model, at {}", what));
    allowance_ -= count;
  }

  std::string text(const char* what, uint64_t most = UINT64_MAX) {
    const auto length = number<uint64_t>(what);
    if (length > most) fail(fmt::format("has {} of {} bytes", what, length));
    claim(length, what);
    std::string out(length, '\0');
    bytes(std::as_writable_bytes(std::span(out.data(), out.size())), what);
    return out;
  }

  void append_text(GgufTexts& texts) {
    constexpr const char* kWhat = "a text of an array";
    auto length = number<uint64_t>(kWhat);
    claim(length, kWhat);
    std::array<char, 512> piece;
    while (length > 0) {
      const size_t count = std::min<size_t>(length, piece.size());
      bytes(std::as_writable_bytes(std::span(piece).first(count)), kWhat);
      texts.append({piece.data(), count});
      length -= count;
    }
    texts.close();
  }

 private:
  void fill() {
    buffered_ = std::min<int64_t>(static_cast<int64_t>(buffer_.size()), file_bytes_ - position_);
    buffer_start_ = position_;
    read_(buffer_start_, std::span(buffer_).first(static_cast<size_t>(buffered_)));
  }

  const ReadAt& read_;
  int64_t file_bytes_, position_ = 0, buffer_start_ = 0, buffered_ = 0;
  uint64_t allowance_ = kMaxMetadataBytes;
  std::string source_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(32 << 10);
};

// Bytes of one number in the file; 0 for texts and arrays.
int64_t number_bytes(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    default:
      return 0;
  }
}

GgufType read_type(Reader& in, const std::string& key) {
  const auto type = in.number<uint32_t>("the type of a value");
  if (type > static_cast<uint32_t>(GgufType::f64)) in.fail(fmt::format("gives {} the unknown type {}", key, type));
  return static_cast<GgufType>(type);
}

GgufArray read_array(Reader& in, const std::string& key, int nesting, uint64_t& arrays_left) {
  if (nesting > kMaxNesting || arrays_left == 0)
    in.fail(fmt::format("nests arrays too deeply or too often in {}", key));
  --arrays_left;
  GgufArray array;
  array.type = read_type(in, key);
  const auto count = in.number<uint64_t>("the length of an array");
  const int64_t each = number_bytes(array.type);
  // The least that so many elements take in the file.
  const uint64_t least = each > 0 ? static_cast<uint64_t>(each) : (array.type == GgufType::text ? 8 : 12);
  if (count > in.bytes_left() / least) {
    in.fail(fmt::format("says that {} has {} elements, more than fit into the file", key, count));
  }
  array.count = static_cast<int64_t>(count);
  if (each > 0) {
    in.claim(count * least, "an array");
    array.numbers.resize(count * least);
    in.bytes(array.numbers, "an array");
  } else if (array.type == GgufType::text) {
    in.claim(count * sizeof(uint32_t), "an array");
    array.texts.reserve(array.count, std::min<int64_t>(array.count * 8, 16 * kMiB));
    for (uint64_t i = 0; i < count; ++i) in.append_text(array.texts);
  } else {
    for (uint64_t i = 0; i < count; ++i) array.arrays.push_back(read_array(in, key, nesting + 1, arrays_left));
  }
  return array;
}

GgufValue read_value(Reader& in, const std::string& key, uint64_t& arrays_left) {
  GgufValue out;
  out.type = read_type(in, key);
  const char* what = "a value";
  switch (out.type) {
    case GgufType::u8:
      out.value = uint64_t{in.number<uint8_t>(what)};
      break;
    case GgufType::u16:
      out.value = uint64_t{in.number<uint16_t>(what)};
      break;
    case GgufType::u32:
      out.value = uint64_t{in.number<uint32_t>(what)};
      break;
    case GgufType::u64:
      out.value = in.number<uint64_t>(what);
      break;
    case GgufType::i8:
      out.value = int64_t{in.number<int8_t>(what)};
      break;
    case GgufType::i16:
      out.value = int64_t{in.number<int16_t>(what)};
      break;
    case GgufType::i32:
      out.value = int64_t{in.number<int32_t>(what)};
      break;
    case GgufType::i64:
      out.value = in.number<int64_t>(what);
      break;
    case GgufType::f32:
      out.value = double{in.number<float>(what)};
      break;
    case GgufType::f64:
      out.value = in.number<double>(what);
      break;
    case GgufType::boolean:
      out.value = in.number<uint8_t>(what) != 0;
      break;
    case GgufType::text:
      out.value = in.text("a text");
      break;
    case GgufType::array:
      out.value = read_array(in, key, 1, arrays_left);
      break;
  }
  return out;
}

void read_metadata(Reader& in, uint64_t count, GgufFile& out) {
  uint64_t arrays_left = kMaxNestedArrays;
  for (uint64_t i = 0; i < count; ++i) {
    std::string key = in.text("a key", kMaxNameBytes);
    GgufValue value = read_value(in, key, arrays_left);
    if (!out.metadata.emplace(key, std::move(value)).second) in.fail(fmt::format("gives {} twice", key));
  }
  if (const GgufValue* alignment = out.find("general.alignment")) {
    const std::optional<int64_t> value = alignment->integer();
    if (!value || *value < 1 || *value > (1 << 20) || (*value & (*value - 1)) != 0) {
      in.fail("has a general.alignment that is no power of two up to 1 MiB");
    }
    out.alignment = *value;
  }
}

GgufTensor read_tensor_info(Reader& in) {
  GgufTensor tensor;
  tensor.name = in.text("the name of a tensor", kMaxNameBytes);
  const auto rank = in.number<uint32_t>("a tensor info");
  if (rank > 4) in.fail(fmt::format("gives tensor {} {} dimensions", tensor.name, rank));
  std::array<int64_t, 4> dims{};
  int64_t elements = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    const auto dim = in.number<uint64_t>("a tensor info");
    dims[rank - 1 - i] = static_cast<int64_t>(dim);
    if (dims[rank - 1 - i] < 0 || __builtin_mul_overflow(elements, dims[rank - 1 - i], &elements)) {
      in.fail(fmt::format("gives tensor {} a size beyond all bounds", tensor.name));
    }
  }
  tensor.shape = Shape(std::span<const int64_t>(dims.data(), rank));
  const auto type = in.number<uint32_t>("a tensor info");
  const auto offset = in.number<uint64_t>("a tensor info");
  const std::optional<DType> dtype = type <= 1000 ? dtype_from_gguf(static_cast<int>(type)) : std::nullopt;
  if (!dtype) {
    throw caller_error(in.source(),
                       fmt::format("stores tensor {} as ggml type {}, which is not read here", tensor.name, type),
                       "use a file in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 or Q2_K to Q6_K");
  }
  tensor.dtype = *dtype;
  const DTypeInfo& info = dtype_info(*dtype);
  const int64_t row = rank == 0 ? 1 : dims[rank - 1];
  if (row % info.block_elements != 0) {
    in.fail(fmt::format("gives tensor {} rows of {} elements, no multiple of the block of {}", tensor.name, row,
                        info.block_elements));
  }
  if (__builtin_mul_overflow(elements / info.block_elements, int64_t{info.block_bytes}, &tensor.bytes) ||
      offset > static_cast<uint64_t>(INT64_MAX)) {
    in.fail(fmt::format("gives tensor {} a size beyond all bounds", tensor.name));
  }
  tensor.offset = static_cast<int64_t>(offset);
  return tensor;
}

void place_tensors(Reader& in, int64_t file_bytes, GgufFile& out) {
  const int64_t data_start = round_up(in.position(), out.alignment);
  std::vector<GgufTensor*> order;
  for (GgufTensor& tensor : out.tensors) {
    if (tensor.offset % out.alignment != 0) {
      in.fail(fmt::format("places tensor {} at {}, no multiple of the alignment {}", tensor.name, tensor.offset,
                          out.alignment));
    }
    const int64_t room = file_bytes - data_start;
    if (tensor.offset > room || tensor.bytes > room - tensor.offset) {
      in.fail(fmt::format("is cut short: tensor {} goes beyond its end", tensor.name));
    }
    tensor.offset += data_start;
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const GgufTensor* a, const GgufTensor* b) {
    return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
  });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset) {
      in.fail(fmt::format("places tensors {} and {} over each other", order[i - 1]->name, order[i]->name));
    }
  }
  std::sort(order.begin(), order.end(), [](const GgufTensor* a, const GgufTensor* b) { return a->name < b->name; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->name == order[i]->name) in.fail(fmt::format("has tensor {} twice", order[i]->name));
  }
}

}  // namespace

GgufFile parse_gguf(const ReadAt& read, int64_t file_bytes, std::string_view source) {
  Reader in(read, file_bytes, source);
  std::array<char, 4> magic{};
  in.bytes(std::as_writable_bytes(std::span(magic)), "the first four bytes");
  if (std::string_view(magic.data(), 4) != "GGUF") in.fail("does not begin with GGUF");
  GgufFile out;
  out.version = in.number<uint32_t>("the version");
  if (out.version != 2 && out.version != 3) {
    const bool swapped = out.version == 0x02000000 || out.version == 0x03000000;
    throw caller_error(
        std::string(source),
        swapped ? "is big-endian" : fmt::format("is GGUF version {}; 2 and 3 are read here", out.version),
        "convert the model again with a current llama.cpp");
  }
  const auto tensors = in.number<uint64_t>("the number of tensors");
  const auto keys = in.number<uint64_t>("the number of keys");
  // The least that one of them takes: a key of one value, a tensor of no dimension.
  if (keys > kMaxKeys || keys > in.bytes_left() / 13) in.fail(fmt::format("says that it has {} keys", keys));
  if (tensors > kMaxGgufTensors || tensors > in.bytes_left() / 24)
    in.fail(fmt::format("says that it has {} tensors", tensors));
  read_metadata(in, keys, out);
  for (uint64_t i = 0; i < tensors; ++i) out.tensors.push_back(read_tensor_info(in));
  place_tensors(in, file_bytes, out);
  return out;
}

GgufFile read_gguf(const InputFile& file) {
  return parse_gguf([&](int64_t offset, std::span<std::byte> out) { file.read(offset, out); }, file.size(),
                    file.path());
}

}  // namespace plimsoll
