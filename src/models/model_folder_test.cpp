// A folder written from a GGUF file, whether its metadata are still held or not.
#include "models/model_folder.h"

#include <gtest/gtest.h>

#include "data/model_text.h"
#include "formats/text_file.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

GgufMetadata& metadata_of(ModelFiles& model) { return model.gguf->metadata; }

TEST(ModelFolder, TokenizerOfAGgufFileComesAlong) {
  ModelFiles model = open_model(PLIMSOLL_TEST_DATA "/golden/gguf/llama/tiny-f32.gguf");
  GgufTexts texts;
  for (const char* text : {"<s>", "a", "b", "ab"}) texts.push_back(text);
  GgufTexts merges;
  merges.push_back("a b");
  metadata_of(model)["tokenizer.ggml.model"] = gguf_text("gpt2");
  metadata_of(model)["tokenizer.ggml.pre"] = gguf_text("smollm");
  metadata_of(model)["tokenizer.ggml.tokens"] = gguf_texts(texts);
  metadata_of(model)["tokenizer.ggml.token_type"] = gguf_i32s(std::vector<int32_t>{3, 1, 1, 1});
  metadata_of(model)["tokenizer.ggml.merges"] = gguf_texts(merges);
  metadata_of(model)["tokenizer.ggml.bos_token_id"] = gguf_u32(0);
  metadata_of(model)["tokenizer.ggml.eos_token_id"] = gguf_u32(0);
  metadata_of(model)["tokenizer.ggml.unknown_token_id"] = gguf_u32(0);
  metadata_of(model)["tokenizer.chat_template"] = gguf_text("{{ bos_token }}");
  const TestFolder folder;
  write_model_companions(model, DType::f32, folder.path());
  const TextFiles files = find_text_files(folder.path());
  const Tokenizer tokenizer = load_model_tokenizer(files);
  EXPECT_EQ(tokenizer.encode("ab", true), (std::vector<int32_t>{0, 3}));
  EXPECT_EQ(special_texts(files, &tokenizer).bos, "<s>");
  EXPECT_EQ(read_text_file(folder.path() + "/chat_template.jinja"), "{{ bos_token }}");
  EXPECT_NE(read_text_file(folder.path() + "/generation_config.json").find("\"eos_token_id\": 2"), std::string::npos);
}

TEST(ModelFolder, LeavesOutATokenizerThatHasNoMerges) {
  ModelFiles model = open_model(PLIMSOLL_TEST_DATA "/golden/gguf/llama/tiny-f32.gguf");
  model.gguf.reset();
  const TestFolder folder;
  write_model_companions(model, DType::f32, folder.path());
  EXPECT_TRUE(file_exists(folder.path() + "/generation_config.json"));
  EXPECT_TRUE(file_exists(folder.path() + "/config.json"));
  EXPECT_FALSE(file_exists(folder.path() + "/tokenizer.json"));
  EXPECT_FALSE(file_exists(folder.path() + "/tokenizer_config.json"));
}

}  // namespace
}  // namespace plimsoll
