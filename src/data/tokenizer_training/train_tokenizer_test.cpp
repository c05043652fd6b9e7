#include "data/tokenizer_training/train_tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/tokenizer/tokenizer.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

using nlohmann::json;

const std::string kGolden = std::string(PLIMSOLL_TEST_DATA) + "/golden/tokenizer_training/";

std::vector<std::string> corpus() {
  std::vector<std::string> lines;
  std::ifstream file(kGolden + "corpus.jsonl");
  for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line)["text"]);
  return lines;
}

TrainedTokenizer train(const TokenizerTraining& training, const std::vector<std::string>& lines = corpus()) {
  return train_tokenizer(training, [&](const auto& take) {
    for (const std::string& line : lines) take(line);
  });
}

TEST(TrainTokenizer, MergesAreThoseOfTheTokenizersLibrary) {
  const TrainedTokenizer trained = train({TokenizerKind::bpe, 420, {"<|user|>"}, 1});
  const json expected = json::parse(read_bytes(kGolden + "expected.json"));
  const json model = json::parse(trained.tokenizer_json)["model"];
  EXPECT_EQ(trained.vocab_size, 420);
  EXPECT_EQ(model["merges"], expected["merges"]);
  ASSERT_EQ(model["vocab"].size(), expected["tokens"].size());
  for (size_t id = 0; id < expected["tokens"].size(); ++id)
    EXPECT_EQ(model["vocab"].value(expected["tokens"][id].get<std::string>(), -1), static_cast<int>(id));
}

TEST(TrainTokenizer, WhatItWritesLoadsAndGivesTheTextAgain) {
  for (const TokenizerKind kind : {TokenizerKind::bpe, TokenizerKind::unigram}) {
    const TrainedTokenizer trained = train({kind, 400, {"<|user|>"}, 2});
    const TokenizerConfig config = parse_tokenizer_config(trained.tokenizer_config_json, "config");
    const Tokenizer tokenizer = load_tokenizer_json(trained.tokenizer_json, "trained", &config);
    EXPECT_EQ(tokenizer.vocab_size(), trained.vocab_size);
    EXPECT_GE(tokenizer.special_ids().eos, 0);
    size_t bytes = 0, ids = 0;
    for (const std::string& line : corpus()) {
      const auto encoded = tokenizer.encode(line, true);
      EXPECT_EQ(tokenizer.decode(encoded, false), line);
      bytes += line.size();
      ids += encoded.size();
    }
    EXPECT_LT(ids * 2, bytes) << "it has learnt words";
    const auto user = tokenizer.encode("a<|user|>b", false);
    EXPECT_EQ(std::ranges::count(user, *tokenizer.id_of("<|user|>")), 1);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode("Ωmega \xf0\x9f\x90\x9f", true), false), "Ωmega \xf0\x9f\x90\x9f")
        << "characters that it never saw";
  }
}

TEST(TrainTokenizer, FewerTokensWhereTheTextYieldsNoMore) {
  EXPECT_EQ(train({TokenizerKind::bpe, 5000, {}, 1}, {"ab ab"}).vocab_size, 257 + 2);  // "ab", " ab"
}

TEST(TrainTokenizer, LongRunsStayReadable) {
  const TrainedTokenizer trained = train({TokenizerKind::bpe, 400, {}, 1}, {std::string(200000, 'a')});
  const Tokenizer tokenizer = load_tokenizer_json(trained.tokenizer_json, "trained");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("aaaaa", false), false), "aaaaa");
}

TEST(TrainTokenizer, WhatCannotBeLearnt) {
  expect_caller_error([] { train({TokenizerKind::bpe, 257, {}, 1}); }, "leaves nothing to learn");
  expect_caller_error([] { train({TokenizerKind::unigram, 5, {}, 1}); }, "--vocab");
  expect_caller_error([] { train({TokenizerKind::bpe, 600, {}, 1}, {}); }, "is empty");
  expect_caller_error([] { train({TokenizerKind::unigram, 600, {}, 1}, {"\n"}); }, "no words");
  expect_caller_error([] { train({TokenizerKind::bpe, 600, {"<x>", "<x>"}, 1}); }, "<x>");
  expect_caller_error([] { train({TokenizerKind::unigram, 600, {"<s>"}, 1}); }, "<s>");
}

}  // namespace
}  // namespace plimsoll
