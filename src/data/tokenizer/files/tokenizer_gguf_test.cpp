// Tokenizers from GGUF metadata: ids as llama.cpp gives them (golden/gguf/llama), and the real SmolLM2 where its
// vocabulary was put beside the tests.
#include "data/tokenizer/files/tokenizer_gguf.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace plimsoll {
namespace {

using Json = nlohmann::json;
const std::string kGolden = std::string(PLIMSOLL_TEST_DATA) + "/golden/";

struct Fixture {
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  std::vector<float> scores;
  GgufVocabulary vocabulary;

  explicit Fixture(const Json& json) {
    tokens = json["tokens"];
    merges = json.value("merges", merges);
    types = json.value("token_type", types);
    scores = json.value("scores", scores);
    vocabulary.model = json["model"];
    vocabulary.pre = json.value("pre", "");
    const auto integer = [&](const char* key) {
      return json.contains(key) ? std::optional<int64_t>(json[key].get<int64_t>()) : std::nullopt;
    };
    const auto boolean = [&](const char* key) {
      return json.contains(key) ? std::optional<bool>(json[key].get<bool>()) : std::nullopt;
    };
    vocabulary.bos_id = integer("bos_token_id");
    vocabulary.eos_id = integer("eos_token_id");
    vocabulary.pad_id = integer("padding_token_id");
    vocabulary.unk_id = integer("unknown_token_id");
    vocabulary.add_bos = boolean("add_bos_token");
    vocabulary.add_eos = boolean("add_eos_token");
    vocabulary.add_space_prefix = boolean("add_space_prefix");
    connect();
  }

  void connect() {
    const auto column = [](const std::vector<std::string>& texts) {
      return TextColumn{static_cast<int64_t>(texts.size()),
                        [&texts](int64_t i) -> std::string_view { return texts[static_cast<size_t>(i)]; }};
    };
    vocabulary.tokens = column(tokens);
    vocabulary.merges = column(merges);
    vocabulary.token_types = types;
    vocabulary.scores = scores;
  }
};

Json read_json(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return Json::parse(file);
}

TEST(TokenizerGguf, ScoredPiecesGiveTheReferenceIds) {
  const Fixture fixture(read_json(kGolden + "gguf/llama/tokenizer_metadata.json"));
  const Tokenizer tokenizer = load_tokenizer_gguf(fixture.vocabulary, "tiny-f32.gguf");
  std::ifstream file(kGolden + "gguf/llama/tokenizer_cases.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const Json c = Json::parse(line);
    const auto text = c["text"].get<std::string>();
    EXPECT_EQ(tokenizer.encode(text, false, SpecialText::plain), c["ids_plain"].get<std::vector<int32_t>>()) << line;
    EXPECT_EQ(tokenizer.encode(text, true), c["ids_bos_special"].get<std::vector<int32_t>>()) << line;
    // The space that begins a text after a user-defined token is not taken back, in the tokenizers library neither.
    if (!text.starts_with("<|turn|>")) {
      EXPECT_EQ(tokenizer.decode(c["ids_plain"].get<std::vector<int32_t>>(), false), text);
    }
  }
  EXPECT_EQ(cases, 11);
  EXPECT_EQ(tokenizer.special_ids().bos, 1);
  EXPECT_EQ(tokenizer.vocab_size(), 296);
}

// The metadata of a whole file out of tests/tools/make_reduced_vocabulary.py: ids that no case uses get texts that
// occur nowhere.
Json whole_vocabulary(Json reduced) {
  constexpr int32_t kNormal = 1;
  std::vector<std::string> tokens;
  std::vector<int32_t> types(reduced["size"].get<size_t>(), kNormal);
  for (size_t id = 0; id < types.size(); ++id) tokens.push_back("\u0100unused" + std::to_string(id));
  for (const auto& [id, text] : reduced["tokens"].items()) tokens.at(std::stoul(id)) = text;
  for (const auto& [id, type] : reduced["token_type"].items()) types.at(std::stoul(id)) = type;
  reduced["tokens"] = tokens;
  reduced["token_type"] = types;
  return reduced;
}

TEST(TokenizerGguf, SmolLm2GivesTheReferenceIds) {
  const std::string path = kGolden + "tokenizer/smollm2/vocabulary.json";
  Fixture fixture(whole_vocabulary(read_json(path)));
  ASSERT_EQ(fixture.tokens.size(), 49152U);
  // The cases come from a tokenizer.json that splits like GPT-2. The GGUF says "smollm", which sets digits apart first:
  // two texts have a digit or number sign after whitespace and differ.
  for (const auto& [pre, differing] : {std::pair("gpt-2", 0), std::pair("smollm", 2)}) {
    fixture.vocabulary.pre = pre;
    const Tokenizer tokenizer = load_tokenizer_gguf(fixture.vocabulary, path);
    std::ifstream file(kGolden + "tokenizer/smollm2/cases.jsonl");
    int other = 0, cases = 0;
    for (std::string line; std::getline(file, line); ++cases) {
      const Json c = Json::parse(line);
      const auto ids = c["ids"].get<std::vector<int32_t>>();
      const auto text = c["text"].get<std::string>();
      other += (c.contains("pair") ? tokenizer.encode_pair(text, c["pair"].get<std::string>(), true).ids
                                   : tokenizer.encode(text, true)) != ids;
      EXPECT_EQ(tokenizer.decode(ids, false), c["decoded"].get<std::string>()) << line;
    }
    EXPECT_EQ(other, differing) << pre;
    EXPECT_GT(cases, 50);
    EXPECT_LE(tokenizer.resident_bytes(), 4 << 20);
  }
}

TEST(TokenizerGguf, EverySplittingCompiles) {
  Fixture fixture(Json{{"model", "gpt2"}, {"tokens", {"a", "b", "ab"}}, {"merges", {"a b"}}, {"bos_token_id", 0}});
  for (const std::string_view name : gguf_splitting_names()) {
    fixture.vocabulary.pre = name;
    EXPECT_EQ(load_tokenizer_gguf(fixture.vocabulary, "test").encode("ab", false), std::vector<int32_t>{2}) << name;
  }
}

TEST(TokenizerGguf, RefusesTablesThatDoNotFit) {
  const Json good = {{"model", "gpt2"}, {"pre", "gpt-2"}, {"tokens", {"a", "b", "ab"}}, {"merges", {"a b"}}};
  const auto refused = [&](const char* key, const Json& value) {
    Json bad = good;
    bad[key] = value;
    const Fixture fixture(bad);
    try {
      load_tokenizer_gguf(fixture.vocabulary, "test.gguf");
    } catch (const Error& error) {
      return error.kind() == ErrorKind::caller;
    }
    return false;
  };
  EXPECT_FALSE(refused("pre", "gpt-2"));
  EXPECT_TRUE(refused("pre", "no-such-splitting"));
  EXPECT_TRUE(refused("model", "bert"));
  EXPECT_TRUE(refused("merges", {"a c"}));
  EXPECT_TRUE(refused("merges", {"ab"}));
  EXPECT_TRUE(refused("merges", {""}));
  EXPECT_TRUE(refused("tokens", Json::array()));
  EXPECT_TRUE(refused("token_type", {1, 1}));
  EXPECT_TRUE(refused("bos_token_id", 3));
  EXPECT_TRUE(refused("eos_token_id", -2));
  EXPECT_TRUE(refused("add_bos_token", true));
  EXPECT_TRUE(refused("model", "llama"));  // without scores
}

}  // namespace
}  // namespace plimsoll
