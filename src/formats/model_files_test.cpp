#include "formats/model_files.h"

#include <gtest/gtest.h>

#include "formats/safetensors_writer.h"
#include "formats/text_file.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

void write_weights(const std::string& path, const std::string& name) {
  SafetensorsWriter writer(path, {{name, DType::f32, {1}}});
  const float value = 1;
  writer.write(std::as_bytes(std::span(&value, 1)));
  writer.finish();
}

std::string golden_config() { return read_bytes(golden_path("models/llama/config.json")); }

TEST(OpenModel, FolderWithAndWithoutWeights) {
  const TestFolder folder;
  folder.write("m/config.json", golden_config());
  folder.write("m/tokenizer.json", "{}");
  ModelFiles files = open_model(folder / "m");
  EXPECT_EQ(files.kind, ModelFiles::Kind::config_only);
  EXPECT_FALSE(files.has_weights);
  EXPECT_EQ(files.config.hidden_size, 48);
  EXPECT_EQ(files.tokenizer_file, folder / "m/tokenizer.json");
  EXPECT_EQ(files.chat_template_jinja, "");
  EXPECT_EQ(open_model(folder / "m/config.json").tokenizer_file, folder / "m/tokenizer.json");

  write_weights(folder / "m/part-a.safetensors", "a");
  write_weights(folder / "m/part-b.safetensors", "b");
  write_weights(folder / "m/adapter_model.safetensors", "c");
  files = open_model(folder / "m");
  EXPECT_EQ(files.kind, ModelFiles::Kind::hf_folder);
  EXPECT_EQ(files.tensors.entries.size(), 2U);
  write_weights(folder / "m/model.safetensors", "d");
  EXPECT_EQ(open_model(folder / "m").tensors.entries.size(), 1U);
}

TEST(OpenModel, SaysWhatWasFoundInstead) {
  const TestFolder folder;
  folder.write("adapter/adapter_config.json", "{}");
  folder.write("pickle/config.json", golden_config());
  folder.write("pickle/pytorch_model.bin", "x");
  folder.write("a.txt", "hello");
  folder.write("a.gguf", "hello");
  expect_caller_error([&] { open_model(""); }, "not given");
  expect_caller_error([&] { open_model(folder.path()); }, "no config.json");
  expect_caller_error([&] { open_model(folder / "adapter"); }, "--adapter");
  expect_caller_error([&] { open_model(folder / "pickle"); }, "pytorch_model.bin");
  expect_caller_error([&] { open_model(folder / "absent"); }, "does not exist");
  expect_caller_error([&] { open_model(folder / "a.txt"); }, "neither");
  expect_caller_error([&] { open_model(folder / "a.gguf"); }, "GGUF");
  expect_caller_error([&] { open_model("org/name"); }, "does not exist");
}

}  // namespace
}  // namespace plimsoll
