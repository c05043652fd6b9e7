#include "formats/gguf/gguf.h"

#include <gtest/gtest.h>

#include <cstring>

#include "formats/gguf/gguf_writer.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

GgufFile parse_bytes(const std::string& bytes) {
  const ReadAt read = [&](int64_t offset, std::span<std::byte> out) {
    ASSERT_LE(offset + static_cast<int64_t>(out.size()), static_cast<int64_t>(bytes.size())) << "a read behind the end";
    if (!out.empty()) std::memcpy(out.data(), bytes.data() + offset, out.size());
  };
  return parse_gguf(read, static_cast<int64_t>(bytes.size()), "x.gguf");
}

// Builds files by hand, so that they can be wrong.
class Bytes {
 public:
  template <typename T>
  Bytes& put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Bytes& name(std::string_view text) {
    put<uint64_t>(text.size());
    text_ += text;
    return *this;
  }
  Bytes& raw(std::string_view text) {
    text_ += text;
    return *this;
  }
  const std::string& str() const { return text_; }

 private:
  std::string text_;
};

Bytes header(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
  Bytes out;
  out.raw("GGUF").put<uint32_t>(version).put<uint64_t>(tensors).put<uint64_t>(keys);
  return out;
}

Bytes tensor_info(Bytes out, std::string_view name, std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
  out.name(name).put<uint32_t>(static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) out.put(dim);
  out.put(type).put(offset);
  return out;
}

std::string pad32(std::string text) {
  text.resize((text.size() + 31) / 32 * 32, '\0');
  return text;
}

GgufMetadata every_type() {
  GgufMetadata metadata;
  const auto set = [&](const char* key, GgufType type, auto value) {
    metadata[key].type = type;
    metadata[key].value = value;
  };
  set("a.u8", GgufType::u8, uint64_t{200});
  set("a.i8", GgufType::i8, int64_t{-100});
  set("a.u16", GgufType::u16, uint64_t{60000});
  set("a.i16", GgufType::i16, int64_t{-30000});
  set("a.i32", GgufType::i32, int64_t{-2000000000});
  set("a.u64", GgufType::u64, ~uint64_t{0});
  set("a.i64", GgufType::i64, int64_t{-5});
  set("a.f64", GgufType::f64, 0.1);
  metadata["a.u32"] = gguf_u32(4000000000);
  metadata["a.f32"] = gguf_f32(0.5);
  metadata["a.bool"] = gguf_bool(true);
  metadata["a.text"] = gguf_text("héllo");
  metadata["a.numbers"] = gguf_i32s(std::vector<int32_t>{1, -2, 3});
  GgufTexts texts;
  for (const char* text : {"", "one", "two words", "3"}) texts.push_back(text);
  metadata["a.texts"] = gguf_texts(texts);
  GgufArray nested;
  nested.type = GgufType::array;
  nested.count = 2;
  nested.arrays = {*metadata["a.numbers"].array(), *metadata["a.texts"].array()};
  set("a.nested", GgufType::array, nested);
  return metadata;
}

std::string small_file(const TestFolder& folder) {
  const std::string path = folder / "small.gguf";
  GgufWriter writer(path, every_type(),
                    {{"first", DType::f32, {3}}, {"second", DType::q8_0, {2, 32}}, {"none", DType::f32, {0}}});
  const std::vector<float> first = {1, 2, 3};
  writer.write(std::as_bytes(std::span(first)));
  writer.write(std::vector<std::byte>(68, std::byte{7}));
  writer.finish();
  return read_bytes(path);
}

TEST(Gguf, WriterRoundTripsEveryType) {
  const TestFolder folder;
  const GgufFile file = parse_bytes(small_file(folder));
  EXPECT_EQ(file.version, 3U);
  EXPECT_EQ(file.metadata.size(), every_type().size());
  EXPECT_EQ(file.find("a.u8")->integer(), 200);
  EXPECT_EQ(file.find("a.i8")->integer(), -100);
  EXPECT_EQ(file.find("a.u16")->integer(), 60000);
  EXPECT_EQ(file.find("a.i16")->integer(), -30000);
  EXPECT_EQ(file.find("a.u32")->integer(), 4000000000);
  EXPECT_EQ(file.find("a.i32")->integer(), -2000000000);
  EXPECT_EQ(file.find("a.u64")->integer(), std::nullopt) << "beyond int64";
  EXPECT_EQ(file.find("a.i64")->number(), -5.0);
  EXPECT_EQ(file.find("a.f32")->number(), 0.5);
  EXPECT_EQ(file.find("a.f64")->number(), 0.1);
  EXPECT_EQ(file.find("a.bool")->boolean(), true);
  EXPECT_EQ(*file.find("a.text")->text(), "héllo");
  EXPECT_EQ(file.find("a.numbers")->array()->integer(1), -2);
  const GgufTexts& texts = file.find("a.texts")->array()->texts;
  ASSERT_EQ(texts.size(), 4);
  EXPECT_EQ(texts[0], "");
  EXPECT_EQ(texts[2], "two words");
  EXPECT_EQ(file.find("a.nested")->array()->arrays[0].number(2), 3.0);
  EXPECT_EQ(file.find("absent"), nullptr);
  ASSERT_EQ(file.tensors.size(), 3U);
  EXPECT_EQ(file.find_tensor("second")->shape, (Shape{2, 32}));
  EXPECT_EQ(file.find_tensor("second")->bytes, 68);
  EXPECT_EQ(file.find_tensor("second")->offset % 32, 0);
}

TEST(Gguf, EveryTruncationIsACallerError) {
  const TestFolder folder;
  const std::string whole = small_file(folder);
  // The last tensor is empty, so the padding behind the second may be missing.
  const size_t needed = static_cast<size_t>(parse_bytes(whole).find_tensor("none")->offset);
  for (size_t length = 0; length < needed; ++length) {
    const Caught caught = catch_error([&] { parse_bytes(whole.substr(0, length)); });
    ASSERT_EQ(caught.kind, ErrorKind::caller) << length << " " << caught.text;
  }
}

// Whatever a changed byte does, it is an answer or a caller's error.
TEST(Gguf, EveryChangedByteIsSurvived) {
  const TestFolder folder;
  const std::string whole = small_file(folder);
  for (size_t at = 0; at < whole.size() - 100; ++at) {
    for (const int change : {0x01, 0x80, 0xff}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ change);
      try {
        parse_bytes(damaged);
      } catch (const Error& error) {
        ASSERT_EQ(error.kind(), ErrorKind::caller) << at << " " << error.what();
      }
    }
  }
}

TEST(Gguf, RefusesHostileSizes) {
  const auto refuse = [](const Bytes& bytes, const std::string& part) {
    expect_caller_error([&] { parse_bytes(pad32(bytes.str())); }, part);
  };
  const uint64_t huge = ~uint64_t{0};
  refuse(Bytes().raw("GGML").put<uint32_t>(3), "GGUF");
  refuse(header(0, 0, 1), "version 1");
  refuse(header(0, 0, 0x03000000), "big-endian");
  refuse(header(huge, 0), "tensors");
  refuse(header(0, huge), "keys");
  refuse(header(0, 1).put<uint64_t>(huge), "key");
  refuse(header(0, 1).name("a.b").put<uint32_t>(8).put<uint64_t>(huge), "text");
  refuse(header(0, 1).name("a.b").put<uint32_t>(99).raw(std::string(20, '\0')), "unknown type");
  refuse(header(0, 1).name("a.b").put<uint32_t>(9).put<uint32_t>(0).put<uint64_t>(huge), "elements");
  refuse(header(0, 1).name("a.b").put<uint32_t>(9).put<uint32_t>(8).put<uint64_t>(huge / 8), "elements");
  Bytes nested = header(0, 1).name("a.b").put<uint32_t>(9);
  for (int i = 0; i < 10; ++i) nested.put<uint32_t>(9).put<uint64_t>(1);
  refuse(nested, "nests");
  Bytes wide = header(0, 1).name("a.b").put<uint32_t>(9).put<uint32_t>(9).put<uint64_t>(100000);
  for (int i = 0; i < 100000; ++i) wide.put<uint32_t>(0).put<uint64_t>(0);
  refuse(wide, "nests");
  refuse(header(0, 2).name("a.b").put<uint32_t>(0).put<uint8_t>(1).name("a.b").put<uint32_t>(0).put<uint8_t>(1),
         "twice");
  refuse(header(0, 1).name("general.alignment").put<uint32_t>(4).put<uint32_t>(0), "alignment");
  refuse(header(0, 1).name("general.alignment").put<uint32_t>(4).put<uint32_t>(48), "alignment");

  refuse(tensor_info(header(1, 0), "t", {1ULL << 40, 1ULL << 40}, 0, 0), "bounds");
  refuse(tensor_info(header(1, 0), "t", {huge}, 0, 0), "bounds");
  refuse(tensor_info(header(1, 0), "t", {1ULL << 61}, 0, 0), "bounds");
  refuse(tensor_info(header(1, 0), "t", {1, 1, 1, 1, 1}, 0, 0), "dimensions");
  refuse(tensor_info(header(1, 0), "t", {31}, 8, 0), "block");
  refuse(tensor_info(header(1, 0), "t", {32}, 99, 0), "ggml type 99");
  refuse(tensor_info(header(1, 0), "t", {4}, 0, 16), "alignment");
  refuse(tensor_info(header(1, 0), "t", {1000}, 0, 0), "cut short");
  refuse(tensor_info(header(1, 0), "t", {4}, 0, huge / 2 - 31), "cut short");
  Bytes twice = tensor_info(tensor_info(header(2, 0), "t", {8}, 0, 0), "t", {8}, 0, 32);
  refuse(Bytes().raw(pad32(twice.str())).raw(std::string(64, '\0')), "twice");
  Bytes over = tensor_info(tensor_info(header(2, 0), "t", {16}, 0, 0), "u", {8}, 0, 32);
  refuse(Bytes().raw(pad32(over.str())).raw(std::string(64, '\0')), "over each other");
}

TEST(Gguf, ReadsVersionTwoAndOtherAlignments) {
  Bytes bytes = header(1, 1, 2).name("general.alignment").put<uint32_t>(4).put<uint32_t>(8);
  std::string text = tensor_info(bytes, "t", {2}, 0, 0).str();
  text.resize((text.size() + 7) / 8 * 8, '\0');
  const GgufFile file = parse_bytes(text + std::string(8, 'x'));
  EXPECT_EQ(file.tensors[0].offset, static_cast<int64_t>(text.size()));
}

}  // namespace
}  // namespace plimsoll
