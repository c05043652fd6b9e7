#include "data/token_offsets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

namespace plimsoll {
namespace {

using Json = nlohmann::json;

const std::string kGolden = PLIMSOLL_TEST_DATA "/golden/";

// Every text of the golden tokenizers: ranges go forward, and where the tokenizer changes nothing they join up.
TEST(TokenOffsets, FollowEveryGoldenText) {
  for (const char* name : {"gpt2_bpe", "llama3_split", "qwen2_split_nfc", "ignore_merges", "llama2_spm", "gemma_spm"}) {
    const Tokenizer tokenizer = load_tokenizer_file(kGolden + "tokenizer/" + name + "/tokenizer.json");
    std::ifstream cases(kGolden + "tokenizer/" + name + "/cases.jsonl");
    std::string line;
    int followed = 0;
    while (std::getline(cases, line)) {
      const Json json = Json::parse(line);
      const auto text = json["text"].get<std::string>();
      const EncodedText encoded = encode_with_offsets(tokenizer, text, false);
      ASSERT_EQ(encoded.ids, tokenizer.encode(text, false));
      int64_t last_end = 0;
      for (const auto& [begin, end] : encoded.byte_offsets) {
        EXPECT_LE(begin, end) << name << ": " << text;
        EXPECT_GE(end, last_end) << name << ": " << text;
        EXPECT_LE(end, static_cast<int64_t>(text.size()));
        last_end = end;
      }
      if (!text.empty()) {
        EXPECT_EQ(last_end, static_cast<int64_t>(text.size())) << name << ": '" << text << "'";
      }
      ++followed;
    }
    EXPECT_GT(followed, 10) << name;
  }
}

TEST(TokenOffsets, PartsOfACharacterShareItsBytes) {
  const Tokenizer tokenizer = load_tokenizer_file(kGolden + "tokenizer/gpt2_bpe/tokenizer.json");
  const std::string text = "a\xF0\x9F\xA6\x84z";
  const EncodedText encoded = encode_with_offsets(tokenizer, text, false);
  ASSERT_GE(encoded.ids.size(), 3U);
  for (size_t i = 0; i < encoded.ids.size(); ++i) {
    const auto [begin, end] = encoded.byte_offsets[i];
    EXPECT_EQ(begin, i == 0 ? 0 : i + 1 == encoded.ids.size() ? 5 : 1);
    EXPECT_EQ(end, i == 0 ? 1 : i + 1 == encoded.ids.size() ? 6 : 5);
  }
}

// <unk> is a special token there, and stands for what no piece holds.
TEST(TokenOffsets, AnUnknownPieceHasItsText) {
  const Tokenizer tokenizer = load_tokenizer_file(kGolden + "tokenizer/unigram/tokenizer.json");
  const std::string text = "river \xF0\x9F\xA6\x84 the";
  const EncodedText encoded = encode_with_offsets(tokenizer, text, true);
  const auto unknown = std::find(encoded.ids.begin(), encoded.ids.end(), *tokenizer.id_of("<unk>"));
  ASSERT_NE(unknown, encoded.ids.end());
  const ByteSpan place = encoded.byte_offsets[static_cast<size_t>(unknown - encoded.ids.begin())];
  EXPECT_LE(place.first, 6);
  EXPECT_GE(place.second, 10);
  EXPECT_EQ(*tokenizer.id_of("</s>"), encoded.ids.back());
  EXPECT_EQ(encoded.byte_offsets.back().first, encoded.byte_offsets.back().second) << "added behind the text";
}

// What transformers marks as the assistant's tokens.
TEST(TokenOffsets, AssistantMasks) {
  int masks = 0;
  for (const char* name : {"generation_tools", "plain_turns_generation"}) {
    std::ifstream file(kGolden + "chat/" + name + "/cases.json");
    const Json chat = Json::parse(file);
    const Tokenizer tokenizer = load_tokenizer_file(kGolden + chat["tokenizer"].get<std::string>() + "/tokenizer.json");
    for (const Json& test : chat["cases"]) {
      if (!test.contains("assistant_mask")) continue;
      const auto text = test["expected"].get<std::string>();
      std::vector<ByteSpan> spans;
      for (const Json& span : test["assistant_spans"]) {  // in characters
        const auto bytes_of = [&](int64_t characters) {
          size_t at = 0;
          for (; at < text.size(); ++at)
            if ((static_cast<unsigned char>(text[at]) & 0xC0U) != 0x80U && characters-- == 0) break;
          return static_cast<int64_t>(at);
        };
        spans.emplace_back(bytes_of(span[0].get<int64_t>()), bytes_of(span[1].get<int64_t>()));
      }
      const EncodedText encoded = encode_with_offsets(tokenizer, text, false);
      EXPECT_EQ(Json(encoded.ids), test["ids"]) << test["name"];
      EXPECT_EQ(Json(token_mask(encoded, spans)), test["assistant_mask"]) << test["name"];
      ++masks;
    }
  }
  EXPECT_GT(masks, 5);
}

}  // namespace
}  // namespace plimsoll
