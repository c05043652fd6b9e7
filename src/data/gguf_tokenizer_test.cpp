#include "data/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/tokenizer/files/tokenizer_gguf.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

using nlohmann::json;

std::string tokenizer_path(const std::string& name) { return golden_path("tokenizer/" + name + "/tokenizer.json"); }

ModelConfig config_of(int64_t vocab_size) {
  ModelConfig config;
  config.vocab_size = vocab_size;
  config.eos_token_ids = {0};
  return config;
}

std::string splitting_of(const std::string& path) {
  return *gguf_tokenizer_metadata(path, "", "", config_of(600)).at("tokenizer.ggml.pre").text();
}

TEST(GgufTokenizer, RecognisesHowTextIsSplit) {
  EXPECT_EQ(splitting_of(tokenizer_path("gpt2_bpe")), "gpt-2");
  EXPECT_EQ(splitting_of(tokenizer_path("ignore_merges")), "llama-bpe");
  EXPECT_EQ(splitting_of(tokenizer_path("llama3_split")), "dbrx");
  EXPECT_EQ(splitting_of(tokenizer_path("qwen2_split_nfc")), "qwen2");
  json smollm = json::parse(read_bytes(tokenizer_path("gpt2_bpe")));
  smollm["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, smollm["pre_tokenizer"]}}};
  const TestFolder folder;
  EXPECT_EQ(splitting_of(folder.write("t.json", smollm.dump())), "smollm");
  json gpt4o = json::parse(read_bytes(tokenizer_path("llama3_split")));
  gpt4o["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = find_gguf_splitting("gpt-4o")->regexes[0];
  EXPECT_EQ(splitting_of(folder.write("t.json", gpt4o.dump())), "gpt-4o");
  gpt4o["model"]["ignore_merges"] = true;
  expect_caller_error([&] { splitting_of(folder.write("t.json", gpt4o.dump())); }, "splits text in a way");
}

TEST(GgufTokenizer, HoldsTokensMergesAndIds) {
  const TestFolder folder;
  const std::string settings =
      folder.write("tokenizer_config.json",
                   R"({"bos_token":"<|begin_of_text|>","eos_token":{"content":"<|end_of_text|>"},"pad_token":null})");
  const std::string path = tokenizer_path("llama3_split");
  const GgufMetadata out = gguf_tokenizer_metadata(path, settings, "a template", config_of(600));
  const json document = json::parse(read_bytes(path));
  const GgufArray& tokens = *out.at("tokenizer.ggml.tokens").array();
  const GgufArray& kinds = *out.at("tokenizer.ggml.token_type").array();
  ASSERT_EQ(tokens.count, 600);
  ASSERT_EQ(kinds.count, 600);
  for (const auto& [text, id] : document["model"]["vocab"].items()) EXPECT_EQ(tokens.texts[id.get<int64_t>()], text);
  EXPECT_EQ(kinds.integer(0), 1);
  for (const json& token : document["added_tokens"]) {
    EXPECT_EQ(tokens.texts[token["id"].get<int64_t>()], token["content"].get<std::string>());
    EXPECT_EQ(kinds.integer(token["id"].get<int64_t>()), 3);
  }
  EXPECT_EQ(tokens.texts[599], "[PAD599]");
  EXPECT_EQ(kinds.integer(599), 5);
  const GgufArray& merges = *out.at("tokenizer.ggml.merges").array();
  ASSERT_EQ(merges.count, static_cast<int64_t>(document["model"]["merges"].size()));
  EXPECT_EQ(merges.texts[0], "e r");
  EXPECT_EQ(out.at("tokenizer.ggml.bos_token_id").integer(), 560);
  EXPECT_EQ(out.at("tokenizer.ggml.eos_token_id").integer(), 561);
  EXPECT_FALSE(out.contains("tokenizer.ggml.padding_token_id"));
  EXPECT_EQ(out.at("tokenizer.ggml.add_bos_token").boolean(), true);
  EXPECT_EQ(out.at("tokenizer.ggml.add_eos_token").boolean(), false);
  EXPECT_EQ(*out.at("tokenizer.chat_template").text(), "a template");
}

TEST(GgufTokenizer, TakesIdsFromTheTemplateWhereNothingElseNamesThem) {
  const GgufMetadata out = gguf_tokenizer_metadata(tokenizer_path("llama3_split"), "", "", config_of(600));
  EXPECT_EQ(out.at("tokenizer.ggml.bos_token_id").integer(), 560);
  EXPECT_EQ(out.at("tokenizer.ggml.eos_token_id").integer(), 0) << "of the config";
}

TEST(GgufTokenizer, ReadsMergesOfBothLayouts) {
  const TestFolder folder;
  json document = json::parse(read_bytes(tokenizer_path("gpt2_bpe")));
  const GgufMetadata pairs = gguf_tokenizer_metadata(tokenizer_path("gpt2_bpe"), "", "", config_of(600));
  for (json& merge : document["model"]["merges"])
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  const GgufMetadata texts = gguf_tokenizer_metadata(folder.write("t.json", document.dump()), "", "", config_of(600));
  const GgufArray &a = *pairs.at("tokenizer.ggml.merges").array(), &b = *texts.at("tokenizer.ggml.merges").array();
  ASSERT_EQ(a.count, b.count);
  for (int64_t i = 0; i < a.count; ++i) EXPECT_EQ(a.texts[i], b.texts[i]);
}

TEST(GgufTokenizer, NamesWhatIsWrong) {
  expect_caller_error([] { gguf_tokenizer_metadata(tokenizer_path("gemma_spm"), "", "", config_of(600)); },
                      "byte-level BPE");
  expect_caller_error([] { gguf_tokenizer_metadata(tokenizer_path("gpt2_bpe"), "", "", config_of(100)); },
                      "100 tokens");
  const TestFolder folder;
  const auto refuse = [&](const std::function<void(json&)>& change, const std::string& part) {
    json document = json::parse(read_bytes(tokenizer_path("gpt2_bpe")));
    change(document);
    const std::string path = folder.write("t.json", document.dump());
    expect_caller_error([&] { gguf_tokenizer_metadata(path, "", "", config_of(600)); }, part);
  };
  refuse([](json& d) { d["pre_tokenizer"]["add_prefix_space"] = true; }, "splits text");
  refuse([](json& d) { d["normalizer"] = {{"type", "Lowercase"}}; }, "splits text");
  refuse([](json& d) { d["model"]["vocab"]["x y"] = "text"; }, "broken ids");
  refuse([](json& d) { d["model"]["vocab"]["x y"] = 5; }, "two tokens");
  refuse([](json& d) { d["model"]["vocab"] = {1, 2}; }, "no vocabulary");
  refuse([](json& d) { d["model"]["vocab"] = json::object(); }, "no vocabulary");
  refuse([](json& d) { d["model"]["merges"][0] = {"a"}; }, "does not join");
  refuse([](json& d) { d["model"]["merges"][0] = {"a b", "c"}; }, "space inside");
  refuse([](json& d) { d["model"]["merges"][0] = 5; }, "broken merges");
  refuse([](json& d) { d["added_tokens"] = {1}; }, "added tokens");
  const std::string broken = folder.write("t.json", "{\"model\":");
  expect_caller_error([&] { gguf_tokenizer_metadata(broken, "", "", config_of(600)); }, "JSON");
}

}  // namespace
}  // namespace plimsoll
