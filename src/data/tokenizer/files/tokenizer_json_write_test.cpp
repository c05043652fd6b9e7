// What is written from a GGUF vocabulary, read back: the same ids, texts and special tokens.
#include "data/tokenizer/files/tokenizer_json_write.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"

namespace plimsoll {
namespace {

using Json = nlohmann::json;
const std::string kGolden = std::string(PLIMSOLL_TEST_DATA) + "/golden/";

struct Tables {
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  std::vector<float> scores;
  GgufVocabulary vocabulary;

  const GgufVocabulary& connect() {
    const auto column = [](const std::vector<std::string>& texts) {
      return TextColumn{static_cast<int64_t>(texts.size()),
                        [&texts](int64_t i) -> std::string_view { return texts[static_cast<size_t>(i)]; }};
    };
    vocabulary.tokens = column(tokens);
    vocabulary.merges = column(merges);
    vocabulary.token_types = types;
    vocabulary.scores = scores;
    return vocabulary;
  }
};

Json read_json(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return Json::parse(file);
}

std::string written(const GgufVocabulary& vocabulary) {
  std::string json;
  write_tokenizer_json(vocabulary, "test.gguf", [&](std::string_view text) { json += text; });
  return json;
}

Tokenizer read_back(const GgufVocabulary& vocabulary) {
  const TokenizerConfig config =
      parse_tokenizer_config(write_tokenizer_config_json(vocabulary, "test.gguf", 0), "tokenizer_config.json");
  return load_tokenizer_json(written(vocabulary), "tokenizer.json", &config);
}

// The GGUF tables of a byte-level tokenizer.json, as a converter makes them.
Tables tables_of(const std::string& golden, const std::string& pre) {
  const Json document = read_json(kGolden + "tokenizer/" + golden + "/tokenizer.json");
  Tables out;
  size_t count = document["model"]["vocab"].size();
  for (const Json& added : document["added_tokens"]) count = std::max(count, added["id"].get<size_t>() + 1);
  out.tokens.resize(count);
  out.types.assign(count, 1);
  for (const auto& [text, id] : document["model"]["vocab"].items()) out.tokens[id.get<size_t>()] = text;
  for (const Json& added : document["added_tokens"]) {
    out.tokens[added["id"].get<size_t>()] = added["content"];
    out.types[added["id"].get<size_t>()] = added["special"].get<bool>() ? 3 : 4;
  }
  for (const Json& merge : document["model"]["merges"])
    out.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  out.vocabulary.model = "gpt2";
  out.vocabulary.pre = pre;
  const auto special = document["added_tokens"][0]["id"].get<int64_t>();
  out.vocabulary.bos_id = special;
  out.vocabulary.eos_id = special;
  return out;
}

void expect_same(const Tokenizer& a, const Tokenizer& b, const std::string& text) {
  const std::vector<int32_t> ids = a.encode(text, true);
  EXPECT_EQ(ids, b.encode(text, true)) << text;
  EXPECT_EQ(a.encode(text, false), b.encode(text, false)) << text;
  EXPECT_EQ(a.decode(ids, false), b.decode(ids, false)) << text;
  EXPECT_EQ(a.decode(ids, true), b.decode(ids, true)) << text;
  const PairEncoding first = a.encode_pair(text, "b 7", true), second = b.encode_pair(text, "b 7", true);
  EXPECT_EQ(first.ids, second.ids) << text;
  EXPECT_EQ(first.type_ids, second.type_ids) << text;
}

void expect_same_specials(const Tokenizer& a, const Tokenizer& b) {
  EXPECT_EQ(a.special_ids().bos, b.special_ids().bos);
  EXPECT_EQ(a.special_ids().eos, b.special_ids().eos);
  EXPECT_EQ(a.special_ids().pad, b.special_ids().pad);
  EXPECT_EQ(a.special_ids().unk, b.special_ids().unk);
  ASSERT_EQ(a.vocab_size(), b.vocab_size());
  for (int32_t id = 0; id < a.vocab_size(); ++id) {
    EXPECT_EQ(a.token_text(id), b.token_text(id));
    EXPECT_EQ(a.is_special(id), b.is_special(id)) << id;
  }
}

TEST(TokenizerJsonWrite, GivesTheReferenceIds) {
  for (const auto& [golden, pre, add_bos] :
       {std::tuple("gpt2_bpe", "gpt-2", false), std::tuple("llama3_split", "dbrx", true),
        std::tuple("qwen2_split_nfc", "qwen2", false), std::tuple("ignore_merges", "llama-bpe", true)}) {
    Tables tables = tables_of(golden, pre);
    tables.vocabulary.add_bos = add_bos;
    const Tokenizer tokenizer = read_back(tables.connect());
    expect_same_specials(tokenizer, load_tokenizer_gguf(tables.vocabulary, "test.gguf"));
    std::ifstream file(kGolden + "tokenizer/" + golden + "/cases.jsonl");
    int cases = 0;
    for (std::string line; std::getline(file, line); ++cases) {
      const Json c = Json::parse(line);
      const auto text = c["text"].get<std::string>();
      const auto ids = c["ids"].get<std::vector<int32_t>>();
      EXPECT_EQ(c.contains("pair") ? tokenizer.encode_pair(text, c["pair"].get<std::string>(), true).ids
                                   : tokenizer.encode(text, true),
                ids)
          << golden << line;
      EXPECT_EQ(tokenizer.decode(ids, false), c["decoded"].get<std::string>()) << golden << line;
    }
    EXPECT_GT(cases, 80) << golden;
  }
}

TEST(TokenizerJsonWrite, EverySplittingIsTheSame) {
  std::vector<std::string> texts;
  std::ifstream file(kGolden + "tokenizer/gpt2_bpe/cases.jsonl");
  for (std::string line; std::getline(file, line);) texts.push_back(Json::parse(line)["text"]);
  for (const std::string_view pre : gguf_splitting_names()) {
    Tables tables = tables_of("gpt2_bpe", std::string(pre));
    tables.vocabulary.add_eos = true;
    const Tokenizer tokenizer = load_tokenizer_gguf(tables.connect(), "test.gguf");
    const Tokenizer again = read_back(tables.vocabulary);
    for (const std::string& text : texts) expect_same(tokenizer, again, text);
  }
}

TEST(TokenizerJsonWrite, KnownSplittingsHaveTheirUsualShape) {
  const auto shape = [](const std::string& pre) {
    Tables tables = tables_of("gpt2_bpe", pre);
    return Json::parse(written(tables.connect()))["pre_tokenizer"];
  };
  EXPECT_EQ(shape("gpt-2")["type"], "ByteLevel");
  EXPECT_EQ(shape("gpt-2")["use_regex"], true);
  EXPECT_EQ(shape("smollm")["pretokenizers"][0], (Json{{"type", "Digits"}, {"individual_digits", true}}));
  EXPECT_EQ(shape("smollm")["pretokenizers"][1]["use_regex"], true);
  EXPECT_EQ(shape("qwen2")["pretokenizers"][0]["type"], "Split");
  EXPECT_EQ(shape("qwen2")["pretokenizers"][1]["use_regex"], false);
}

// Scores for merges: a token's score is its id, negative.
Tables scored(const std::vector<std::string>& tokens) {
  Tables out;
  out.tokens = {"<unk>", "<s>", "</s>"};
  out.types = {2, 3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kHex[] = "0123456789ABCDEF";
    out.tokens.push_back(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">");
    out.types.push_back(6);
  }
  out.tokens.insert(out.tokens.end(), tokens.begin(), tokens.end());
  out.types.resize(out.tokens.size(), 1);
  for (size_t i = 0; i < out.tokens.size(); ++i) out.scores.push_back(-static_cast<float>(i));
  out.vocabulary.model = "llama";
  return out;
}

TEST(TokenizerJsonWrite, ScoresBecomeMerges) {
  const Json json = read_json(kGolden + "gguf/llama/tokenizer_metadata.json");
  Tables tables;
  tables.tokens = json["tokens"];
  tables.types = json["token_type"].get<std::vector<int32_t>>();
  tables.scores = json["scores"].get<std::vector<float>>();
  tables.vocabulary.model = "llama";
  EXPECT_THROW(written(tables.connect()), Error) << "w is no token, but a part of some";
  for (const char* letter : {"w", "g"}) {
    tables.tokens.push_back(letter);
    tables.types.push_back(1);
    tables.scores.push_back(-static_cast<float>(tables.tokens.size()));
  }
  for (const bool prefix : {true, false}) {
    tables.vocabulary.add_space_prefix = prefix;
    const Tokenizer tokenizer = load_tokenizer_gguf(tables.connect(), "test.gguf");
    const Tokenizer again = read_back(tables.vocabulary);
    expect_same_specials(tokenizer, again);
    std::ifstream file(kGolden + "gguf/llama/tokenizer_cases.jsonl");
    for (std::string line; std::getline(file, line);) expect_same(tokenizer, again, Json::parse(line)["text"]);
  }
}

// Vocabularies that training makes: the pair that is most frequent in a random text becomes the next token.
TEST(TokenizerJsonWrite, TrainedScoresGiveTheSameIds) {
  std::mt19937 random(7);
  const auto random_text = [&](size_t length) {
    std::string text;
    while (text.size() < length) text += "aab c"[random() % 5];
    return text;
  };
  for (int round = 0; round < 20; ++round) {
    std::vector<std::string> symbols, tokens = {"\xe2\x96\x81", "a", "b", "c"};
    for (const char c : random_text(2000)) symbols.push_back(c == ' ' ? "\xe2\x96\x81" : std::string(1, c));
    for (int merge = 0; merge < 60; ++merge) {
      std::map<std::string, int> counts;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) ++counts[symbols[i] + symbols[i + 1]];
      const std::string best = std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
                                 return a.second < b.second;
                               })->first;
      std::vector<std::string> merged;
      for (size_t i = 0; i < symbols.size(); ++i) {
        const bool joins = i + 1 < symbols.size() && symbols[i] + symbols[i + 1] == best;
        merged.push_back(joins ? best : symbols[i]);
        i += joins;
      }
      symbols = merged;
      if (std::find(tokens.begin(), tokens.end(), best) == tokens.end()) tokens.push_back(best);
    }
    Tables tables = scored(tokens);
    const Tokenizer tokenizer = load_tokenizer_gguf(tables.connect(), "test.gguf");
    const Tokenizer again = read_back(tables.vocabulary);
    for (int i = 0; i < 100; ++i) expect_same(tokenizer, again, random_text(1 + random() % 80));
  }
}

// No training at all: periodic words over two letters with scores in any order, so that tokens overlap themselves.
TEST(TokenizerJsonWrite, AnyScoresGiveTheSameIds) {
  std::mt19937 random(3);
  const auto word = [&](size_t length) {
    std::string text;
    while (text.size() < length) text += "ab"[random() % 2];
    return text;
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> tokens;
    for (size_t i = 3 + random() % 25; i > 0; --i) tokens.push_back(word(2 + random() % 5));
    std::sort(tokens.begin(), tokens.end());
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    std::shuffle(tokens.begin(), tokens.end(), random);
    tokens.insert(tokens.end(), {"\xe2\x96\x81", "a", "b"});
    Tables tables = scored(tokens);
    tables.vocabulary.add_space_prefix = false;
    const Tokenizer tokenizer = load_tokenizer_gguf(tables.connect(), "test.gguf");
    const Tokenizer again = read_back(tables.vocabulary);
    for (int i = 0; i < 20; ++i) {
      const std::string piece = word(1 + random() % 4);
      std::string text = word(random() % 10);
      while (text.size() < 30) text += piece;
      EXPECT_EQ(tokenizer.encode(text, true), again.encode(text, true)) << text;
    }
  }
}

TEST(TokenizerJsonWrite, TextsOfTokensAreEscaped) {
  Tables tables = tables_of("gpt2_bpe", "gpt-2");
  tables.tokens.insert(tables.tokens.end(),
                       {"\"quoted\"\\", "line\nand\ttab\x01\x7f", "\xe2\x80\xa8 \xf0\x9f\x98\x80"});
  tables.types.insert(tables.types.end(), {4, 3, 4});
  tables.vocabulary.pad_id = static_cast<int64_t>(tables.tokens.size()) - 2;
  const Tokenizer tokenizer = load_tokenizer_gguf(tables.connect(), "test.gguf");
  const Tokenizer again = read_back(tables.vocabulary);
  expect_same_specials(tokenizer, again);
  expect_same(tokenizer, again, "a \"quoted\"\\ b line\nand\ttab\x01\x7f\xe2\x80\xa8 \xf0\x9f\x98\x80");
}

TEST(TokenizerJsonWrite, RefusesWhatItCannotExpress) {
  const auto refused = [](auto&& change, Tables tables) {
    change(tables);
    try {
      written(tables.connect());
    } catch (const Error& error) {
      return error.kind() == ErrorKind::caller;
    }
    return false;
  };
  const Tables bpe = tables_of("gpt2_bpe", "gpt-2"), spm = scored({"\xe2\x96\x81", "a", "b", "ab", "ba"});
  EXPECT_FALSE(refused([](Tables&) {}, bpe));
  EXPECT_FALSE(refused([](Tables&) {}, spm));
  EXPECT_TRUE(refused([](Tables& t) { t.vocabulary.model = "bert"; }, bpe));
  EXPECT_TRUE(refused([](Tables& t) { t.vocabulary.pre = "no-such-splitting"; }, bpe));
  EXPECT_TRUE(refused([](Tables& t) { t.tokens[7] = "\xff"; }, bpe));
  EXPECT_TRUE(refused([](Tables& t) { t.tokens[7] = t.tokens[8]; }, bpe));
  EXPECT_TRUE(refused([](Tables& t) { t.tokens.clear(), t.types.clear(); }, bpe));
  EXPECT_TRUE(refused([](Tables& t) { t.types.pop_back(); }, bpe));
  EXPECT_TRUE(refused([](Tables& t) { t.merges.push_back("nothere a"); }, bpe));
  EXPECT_TRUE(refused([](Tables& t) { t.merges.push_back("a"); }, bpe));
  EXPECT_TRUE(refused([](Tables& t) { t.vocabulary.eos_id = 100000; }, bpe));
  EXPECT_TRUE(refused([](Tables& t) { t.scores.pop_back(); }, spm));
  EXPECT_TRUE(refused([](Tables& t) { t.scores[5] = std::nanf(""); }, spm));
  EXPECT_TRUE(refused([](Tables& t) { t.scores.back() = t.scores[t.scores.size() - 2]; }, spm)) << "equal scores";
  EXPECT_TRUE(refused([](Tables& t) { t.tokens.back() = "abx", t.tokens[262] = "bx"; }, spm)) << "x is no token";
  EXPECT_TRUE(refused([](Tables& t) { t.tokens.back() = "a<0x41>"; }, spm));
}

}  // namespace
}  // namespace plimsoll
