#include "data/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"

namespace plimsoll {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

// Characters a, b, ▁ and the word abab, with "<e>" as a special token.
Json small_bpe() {
  return Json::parse(R"({"added_tokens": [{"id": 6, "content": "<e>", "special": true, "lstrip": false, "rstrip": false,
    "single_word": false, "normalized": false}], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
    "decoder": {"type": "Fuse"}, "model": {"type": "BPE", "unk_token": "?", "vocab": {"?": 0, "a": 1, "b": 2, "ab": 3, "abab": 4, " ": 5},
    "merges": ["a b", ["ab", "ab"]]}})");
}

Tokenizer load(const Json& json) { return load_tokenizer_json(json.dump(), "test.json"); }

// The problem of the caller Error that loading gives; empty when it loads.
std::string refusal(const std::string& json) {
  try {
    load_tokenizer_json(json, "test.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::caller) << error.what();
    return error.problem();
  }
  return "";
}

std::string refusal_with(const char* pointer, const Json& value) {
  Json json = small_bpe();
  json[Json::json_pointer(pointer)] = value;
  return refusal(json.dump());
}

TEST(Tokenizer, MergesByRankAndKnowsItsTokens) {
  const Tokenizer tokenizer = load(small_bpe());
  EXPECT_EQ(tokenizer.encode("ababab", false), (Ids{4, 3}));
  EXPECT_EQ(tokenizer.encode("a<e>xyb", false), (Ids{1, 6, 0, 0, 2}));
  EXPECT_EQ(tokenizer.encode("<e>", false, SpecialText::plain), (Ids{0, 0, 0}));
  EXPECT_EQ(tokenizer.id_of("abab"), 4);
  EXPECT_EQ(tokenizer.id_of("<e>"), 6);
  EXPECT_EQ(tokenizer.id_of("c"), std::nullopt);
  EXPECT_EQ(tokenizer.token_text(3), "ab");
  EXPECT_EQ(tokenizer.token_text(99), "");
  EXPECT_EQ(tokenizer.token_text(-1), "");
  EXPECT_TRUE(tokenizer.is_special(6));
  EXPECT_EQ(tokenizer.vocab_size(), 7);
  EXPECT_EQ(tokenizer.decode(Ids{4, 6, 99, -5, 1}, false), "abab<e>a");
  EXPECT_EQ(tokenizer.decode(Ids{4, 6, 1}, true), "ababa");
}

// As the tokenizers library 0.23 does it, down to a special token that is not known by its normalized form.
TEST(Tokenizer, NormalizedAddedTokensAreDecodedNormalized) {
  Json json = small_bpe();
  json["normalizer"] = {{"type", "Lowercase"}};
  json["added_tokens"] = Json::array();
  for (const auto& [id, content, special] : {std::tuple{6, "<E>", true}, {7, "<F>", false}, {8, "<g>", true}})
    json["added_tokens"].push_back({{"id", id}, {"content", content}, {"special", special}, {"normalized", true}});
  const Tokenizer tokenizer = load(json);
  EXPECT_EQ(tokenizer.encode("<e>A<F><G>", false), (Ids{6, 1, 7, 8}));
  EXPECT_EQ(tokenizer.decode(Ids{6, 1, 7, 8}, false), "<e>a<f><g>");
  EXPECT_EQ(tokenizer.decode(Ids{6, 1, 7, 8}, true), "<e>a<f>");
  EXPECT_EQ(tokenizer.token_text(6), "<E>");
}

// As the tokenizers library: what one token took as whitespace is no further token that takes whitespace before it.
TEST(Tokenizer, TokensOfWhitespaceShareIt) {
  Json json = small_bpe();
  json["added_tokens"] = Json::array();
  for (const auto& [id, content, lstrip] : {std::tuple{6, "<x>", false}, {7, "\r", true}, {8, "\t", false}})
    json["added_tokens"].push_back(
        {{"id", id}, {"content", content}, {"lstrip", lstrip}, {"rstrip", true}, {"special", false}});
  const Tokenizer tokenizer = load(json);
  EXPECT_EQ(tokenizer.encode("a \r \r b", false), (Ids{1, 7, 2}));
  EXPECT_EQ(tokenizer.encode("<x> \r b", false), (Ids{6, 2}));
  EXPECT_EQ(tokenizer.encode("<x> \t b", false), (Ids{6, 8, 2}));
}

// Nonspacing, spacing and enclosing marks are all stripped; a joiner is a word of its own beside emoji.
TEST(Tokenizer, AccentsAndJoiners) {
  Json json = small_bpe();
  json["normalizer"] = {{"type", "StripAccents"}};
  EXPECT_EQ(load(json).encode("a\xcc\x81"
                              "b\xe0\xa4\xbf"
                              "a\xd2\x89"
                              "b",
                              false),
            Ids{4});
  json = small_bpe();
  json["pre_tokenizer"] = {{"type", "Whitespace"}};
  json["model"]["fuse_unk"] = true;
  EXPECT_EQ(load(json).encode("\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xe2\x80\x8d\xf0\x9f\x98\x80", false), (Ids{0, 0, 0}));
  EXPECT_EQ(load(json).encode("a\xe2\x80\x8d", false), (Ids{1, 0}));
}

TEST(Tokenizer, InvalidUtf8CountsAsReplacementCharacters) {
  Json json = small_bpe();
  json["model"]["vocab"]["\xef\xbf\xbd"] = 7;
  json["added_tokens"][0]["id"] = 8;
  const Tokenizer tokenizer = load(json);
  EXPECT_EQ(tokenizer.encode("a\xff\xfe"
                             "b",
                             false),
            (Ids{1, 7, 7, 2}));
  EXPECT_EQ(tokenizer.encode("a\xe4\xb8", false), (Ids{1, 7}));        // cut off: one
  EXPECT_EQ(tokenizer.encode("\xed\xa0\x80", false), (Ids{7, 7, 7}));  // a surrogate: three
}

TEST(Tokenizer, LongRunsGiveTheSameAsShortOnes) {
  Json json = small_bpe();
  const Tokenizer tokenizer = load(json);
  std::string text;
  for (int i = 0; i < (1 << 19); ++i) text += "ab";
  EXPECT_EQ(tokenizer.encode(text, false), Ids(1 << 18, 4));
  EXPECT_EQ(tokenizer.encode(std::string(1 << 20, 'b'), false), Ids(1 << 20, 2));
}

TEST(Tokenizer, MegabytesOfOneCharacterDoNotTakeForever) {
  for (const char* name :
       {"llama3_split", "gemma_spm", "unigram_byte_fallback", "added_token_flags", "qwen2_split_nfc"}) {
    const Tokenizer tokenizer =
        load_tokenizer_file(std::string(PLIMSOLL_TEST_DATA) + "/golden/tokenizer/" + name + "/tokenizer.json");
    for (const std::string& unit :
         {std::string("a"), std::string(" "), std::string("\n"), std::string("\xf0\x9f\x98\x80"),
          std::string("\xcc\x81"), std::string("\xcc\x81\xcc\xa7"), std::string("<s>"), std::string("7")}) {
      std::string text;
      while (text.size() < (1 << 20)) text += unit;
      EXPECT_FALSE(tokenizer.encode(text, false).empty()) << name;
    }
  }
}

TEST(Tokenizer, EncodesInManyThreadsAtOnce) {
  const Tokenizer tokenizer =
      load_tokenizer_file(std::string(PLIMSOLL_TEST_DATA) + "/golden/tokenizer/llama3_split/tokenizer.json");
  const std::string text = "The harbor lantern counted 12345 gradients, didn't it? \xe4\xb8\x96\xe7\x95\x8c";
  const Ids expected = tokenizer.encode(text, true);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) wrong += tokenizer.encode(text, true) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(StreamDecoder, GivesOnlyWholeCharacters) {
  const Tokenizer tokenizer =
      load_tokenizer_file(std::string(PLIMSOLL_TEST_DATA) + "/golden/tokenizer/llama2_spm/tokenizer.json");
  const std::string text = "a \xf0\x9f\x98\x80 \xe4\xb8\x96 b";
  const Ids ids = tokenizer.encode(text, false);
  StreamDecoder stream(tokenizer, false);
  std::string all;
  int empty = 0;
  for (const int32_t id : ids) {
    const std::string piece = stream.put(id);
    EXPECT_EQ(piece.find("\xef\xbf\xbd"), std::string::npos);
    empty += piece.empty();
    all += piece;
  }
  EXPECT_GE(empty, 3);  // the first three bytes of the emoji
  EXPECT_EQ(all + stream.finish(), text);
}

TEST(StreamDecoder, DoesNotWaitForeverForBytesThatNeverEnd) {
  const Tokenizer tokenizer =
      load_tokenizer_file(std::string(PLIMSOLL_TEST_DATA) + "/golden/tokenizer/llama2_spm/tokenizer.json");
  const int32_t byte = tokenizer.id_of("<0xFF>").value();
  StreamDecoder stream(tokenizer, false);
  std::string all;
  for (int i = 0; i < 100; ++i) all += stream.put(byte);
  EXPECT_FALSE(all.empty());
  all += stream.finish();
  EXPECT_EQ(all.size() % 3, 0u);
  EXPECT_EQ(all.substr(0, 3), "\xef\xbf\xbd");
}

TEST(TokenizerJson, RefusesWhatContradictsItself) {
  EXPECT_EQ(refusal(small_bpe().dump()), "");
  EXPECT_NE(refusal_with("/model/vocab/abab", 3), "");  // one id, two tokens
  EXPECT_NE(refusal_with("/model/vocab/abab", -1), "");
  EXPECT_NE(refusal_with("/model/vocab/abab", 4194304), "");
  EXPECT_NE(refusal_with("/model/vocab/abab", Json::parse("123456789012345678901")), "");
  EXPECT_NE(refusal_with("/model/vocab/abab", 1.5), "");
  EXPECT_NE(refusal_with("/model/vocab/abab", "4"), "");
  EXPECT_NE(refusal_with("/model/vocab", Json::array()), "");
  EXPECT_NE(refusal_with("/model/merges/0", "a c"), "");  // no token c
  EXPECT_NE(refusal_with("/model/merges/0", "b a"), "");  // no token ba
  EXPECT_NE(refusal_with("/model/merges/0", "ab"), "");
  EXPECT_NE(refusal_with("/model/merges/0", Json::array({"a", "b", "a"})), "");
  EXPECT_NE(refusal_with("/model/merges/0", 7), "");
  EXPECT_NE(refusal_with("/model/unk_token", "nope"), "");
  EXPECT_NE(refusal_with("/model/type", "WordPiece"), "");
  EXPECT_NE(refusal_with("/added_tokens/0/id", 3), "");  // another token's
  EXPECT_NE(refusal_with("/added_tokens/0/id", 99999999), "");
  EXPECT_NE(refusal_with("/added_tokens/0/content", std::string(5000, 'x')), "");
  EXPECT_NE(refusal_with("/pre_tokenizer", {{"type", "Nope"}}), "");
  EXPECT_NE(refusal_with("/normalizer", {{"kind", "NFC"}}), "");
  EXPECT_NE(refusal_with("/decoder", Json::array()), "");
  EXPECT_NE(
      refusal_with(
          "/post_processor",
          Json::parse(
              R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}], "pair": []})")),
      "");
  EXPECT_NE(
      refusal_with("/post_processor", Json::parse(R"({"type": "BertProcessing", "sep": ["x", 7], "cls": ["y", 0]})")),
      "");
}

TEST(TokenizerJson, RefusesTextThatIsNotJson) {
  for (const char* text : {"", " ", "{", "[]", "null", "{}", "{\"model\"", "{\"model\": {}}",
                           "{\"model\": {\"vocab\": {\"a\" 1}}}", "{\"model\": {\"vocab\": {\"a\": 1,}}}",
                           "{\"model\": {\"vocab\": {\"\\ud800\": 1}}}", "{\"model\": {\"vocab\": {\"a\": 1}}} x",
                           "{\"model\": {\"vocab\": {\"a\": 1]}}", "{\"model\": {\"vocab\": {\"a\n\": 1}}}", "\xff"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
  EXPECT_EQ(refusal("{\"model\": {\"vocab\": {\"a\": 1}}}"), "");
  const std::string whole = small_bpe().dump();
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NE(refusal(whole.substr(0, i)), "") << i;
}

TEST(TokenizerJson, RefusesDeepNesting) {
  EXPECT_NE(refusal("{\"x\": " + std::string(100000, '[')), "");
  EXPECT_NE(refusal("{\"model\": " + std::string(100000, '{')), "");
  Json deep = {{"type", "NFC"}};
  for (int i = 0; i < 20; ++i) deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
  EXPECT_NE(refusal_with("/normalizer", deep), "");
}

TEST(TokenizerJson, AHostilePatternEndsInAnError) {
  Json json = small_bpe();
  const auto with_pattern = [&](const std::string& regex) {
    json["pre_tokenizer"] = {
        {"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
    return json;
  };
  EXPECT_THROW(load(with_pattern("(")), Error);
  EXPECT_THROW(load(with_pattern("[a")), Error);
  EXPECT_THROW(load(with_pattern("\\p{NoSuchThing}")), Error);
  EXPECT_THROW(load(with_pattern(std::string(20000, 'a'))), Error);
  EXPECT_THROW(load(with_pattern("(a+)+\\z")).encode(std::string(60, 'a') + "!", false), Error);
}

TEST(TokenizerConfig, NamesTheSpecialTokensAndAddsTokens) {
  const TokenizerConfig config =
      parse_tokenizer_config(R"({"bos_token": "a", "eos_token": {"content": "<e>", "lstrip": false}, "pad_token": null,
    "add_bos_token": true, "chat_template": [{"name": "tool_use", "template": "T"}],
    "added_tokens_decoder": {"7": {"content": "<new>", "special": true, "rstrip": true}}})",
                             "tokenizer_config.json");
  EXPECT_EQ(config.add_bos_token, true);
  EXPECT_EQ(config.add_eos_token, std::nullopt);
  const Tokenizer tokenizer = load_tokenizer_json(small_bpe().dump(), "test.json", &config);
  EXPECT_EQ(tokenizer.special_ids().bos, 1);
  EXPECT_EQ(tokenizer.special_ids().eos, 6);
  EXPECT_EQ(tokenizer.special_ids().pad, -1);
  EXPECT_EQ(tokenizer.special_ids().unk, 0);
  EXPECT_EQ(tokenizer.encode("a<new>  b", false), (Ids{1, 7, 2}));
}

}  // namespace
}  // namespace plimsoll
