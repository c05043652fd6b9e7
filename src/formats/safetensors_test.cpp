#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <limits>

#include "formats/safetensors_writer.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

std::string with_length(const std::string& header, const std::string& data = "") {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

TensorIndex open_bytes(const TestFolder& folder, const std::string& bytes) {
  return open_safetensors(folder.write("x.safetensors", bytes));
}

std::string tiny_file() {
  return with_length(
      R"({"__metadata__":{"format":"pt","k":"v"},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},)"
      R"("a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]},"empty":{"dtype":"I64","shape":[0,3],"data_offsets":[4,4]}} )",
      std::string("\x80\x3f\x00\x40\x00\x00\x80\x3f\x00\x00\x00\x40", 12));
}

TEST(Safetensors, ReadsEntriesAndMetadata) {
  const TestFolder folder;
  const std::string path = folder.write("x.safetensors", tiny_file());
  std::map<std::string, std::string> metadata;
  const TensorIndex index = open_safetensors(path, &metadata);
  ASSERT_EQ(index.entries.size(), 3U);
  EXPECT_EQ(metadata.at("k"), "v");
  EXPECT_EQ(index.entries[0].name, "a") << "sorted";
  EXPECT_EQ(index.entries[0].shape, (Shape{1, 2}));
  EXPECT_EQ(index.entries[0].dtype, DType::bf16);
  EXPECT_EQ(load_floats(index, "a"), (std::vector<float>{1, 2}));
  EXPECT_EQ(load_floats(index, "b"), (std::vector<float>{1, 2}));
  EXPECT_EQ(index.find("c"), nullptr);
}

TEST(Safetensors, EveryTruncationIsACallerError) {
  const TestFolder folder;
  const std::string whole = tiny_file();
  for (size_t length = 0; length < whole.size(); ++length) {
    const Caught caught = catch_error([&] { open_bytes(folder, whole.substr(0, length)); });
    EXPECT_EQ(caught.kind, ErrorKind::caller) << length << " " << caught.text;
  }
  open_bytes(folder, whole);
  expect_caller_error([&] { open_bytes(folder, whole + "x"); }, "behind its last tensor");
}

TEST(Safetensors, RefusesHostileHeaders) {
  const TestFolder folder;
  const auto refuse = [&](const std::string& header, const std::string& part, const std::string& data = "") {
    expect_caller_error([&] { open_bytes(folder, with_length(header, data)); }, part);
  };
  const std::string huge = "9223372036854775807";
  refuse("", "begin");
  refuse("[]", "begin");
  refuse(" {}", "begin");
  refuse("{", "JSON");
  refuse("{}}", "JSON");
  refuse("{" + std::string(50000, '['), "JSON");
  refuse(R"({"a":)" + std::string(50000, '['), "wrong kind");
  refuse(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "cut short");
  refuse(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "needs 8", "1234");
  refuse(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "hole", "12345678");
  refuse(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}})", "data_offsets", "12345678");
  refuse(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
      "overlap", "123456");
  refuse(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
      "twice", "12345678");
  refuse(R"({"a":{"dtype":"F32","shape":[)" + huge + "," + huge + R"(],"data_offsets":[0,4]}})", "more than any file",
         "1234");
  refuse(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "wrong kind", "1234");
  refuse(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", "wrong kind", "1234");
  refuse(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", "wrong kind", "1234");
  refuse(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1],"data_offsets":[0,4]}})", "dimensions", "1234");
  refuse(R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", "F31", "1234");
  refuse(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", "lacks", "1234");
  refuse(R"({"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}})", "wrong kind", "1234");
  refuse(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", "data_offsets", "1234");
  refuse(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":{}}})", "object", "1234");
  refuse(R"({"a":5})", "wrong kind");
  refuse(R"({"__metadata__":{"a":5}})", "wrong kind");
  refuse(R"({"__metadata__":[]})", "wrong kind");

  std::string length_only(8, '\xff');
  expect_caller_error([&] { open_bytes(folder, length_only + "{}"); }, "allowed");
  length_only = std::string("\x00\xe0\xf5\x05\x00\x00\x00\x00", 8);  // just below the limit, but not in the file
  expect_caller_error([&] { open_bytes(folder, length_only + "{}"); }, "whole file");
}

TEST(Safetensors, WriterRoundTrips) {
  const TestFolder folder;
  const std::string path = folder / "out.safetensors";
  const std::vector<float> a = {1, -2, 3};
  const std::vector<uint16_t> b = {0x3f80, 0x4000};
  const std::vector<SafetensorsOutput> entries = {
      {"layers.0.a", DType::f32, {3}}, {"quote \" and ü", DType::bf16, {2, 1}}, {"scalar", DType::f32, {}}};
  {
    SafetensorsWriter writer(path, entries, {{"note", "x"}});
    writer.write(std::as_bytes(std::span(a)));
    const auto bytes = std::as_bytes(std::span(b));
    writer.write(bytes.first(1));
    writer.write(bytes.subspan(1));
    writer.write(std::as_bytes(std::span(a)).first(4));
    EXPECT_FALSE(std::filesystem::exists(path));
    writer.finish();
  }
  std::map<std::string, std::string> metadata;
  const TensorIndex index = open_safetensors(path, &metadata);
  EXPECT_EQ(metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"note", "x"}}));
  EXPECT_EQ(load_floats(index, "layers.0.a"), a);
  EXPECT_EQ(load_floats(index, "quote \" and ü"), (std::vector<float>{1, 2}));
  EXPECT_EQ(load_floats(index, "scalar"), (std::vector<float>{1}));
  EXPECT_EQ(index.find("layers.0.a")->offset % 8, 0);
}

TEST(Safetensors, UnfinishedWriterLeavesNothing) {
  const TestFolder folder;
  {
    SafetensorsWriter writer(folder / "out.safetensors", {{"a", DType::f32, {3}}});
    EXPECT_EQ(catch_error([&] { writer.finish(); }).kind, ErrorKind::internal) << "bytes are missing";
  }
  EXPECT_EQ(folder.files(), 0U);
}

void write_shard(const std::string& path, const std::string& name, float value) {
  SafetensorsWriter writer(path, {{name, DType::f32, {1}}, {"common", DType::f32, {1}}});
  for (int i = 0; i < 2; ++i) writer.write(std::as_bytes(std::span(&value, 1)));
  writer.finish();
}

TEST(Safetensors, ReadsShards) {
  const TestFolder folder;
  write_shard(folder / "s1.safetensors", "a", 1);
  write_shard(folder / "s2.safetensors", "b", 2);
  const auto open = [&](const std::string& map) {
    return open_sharded_safetensors(folder.write("model.safetensors.index.json", R"({"weight_map":)" + map + "}"));
  };
  const TensorIndex index = open(R"({"a":"s1.safetensors","b":"s2.safetensors","common":"s2.safetensors"})");
  EXPECT_EQ(index.files.size(), 2U);
  EXPECT_EQ(index.entries.size(), 3U);
  EXPECT_EQ(load_floats(index, "a")[0], 1);
  EXPECT_EQ(load_floats(index, "b")[0], 2);
  EXPECT_EQ(load_floats(index, "common")[0], 2);
  expect_caller_error([&] { open(R"({"c":"s1.safetensors"})"); }, "does not hold tensor c");
  expect_caller_error([&] { open(R"({"a":"s3.safetensors"})"); }, "does not exist");
  expect_caller_error([&] { open(R"({"a":"../s1.safetensors"})"); }, "outside");
  expect_caller_error([&] { open(R"({"a":"/etc/passwd"})"); }, "outside");
  expect_caller_error([&] { open(R"({"a":".."})"); }, "outside");
  expect_caller_error([&] { open(R"({"a":5})"); }, "outside");
  expect_caller_error([&] { open("[]"); }, "weight_map");
  expect_caller_error(
      [&] {
        open_safetensors_files({folder / "s1.safetensors", folder / "s2.safetensors"});
      },
      "common");
}

}  // namespace
}  // namespace plimsoll
