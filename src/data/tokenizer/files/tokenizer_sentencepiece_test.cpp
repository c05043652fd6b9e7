// SentencePiece files: ids and texts of SentencePiece's own library (tests/tools/make_sentencepiece.py), and what
// tokenizer_config.json adds, as transformers 5 reads it.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/tokenizer/tokenizer.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

const std::string kGolden = std::string(PLIMSOLL_TEST_DATA) + "/golden/sentencepiece/";

class SentencePieceGolden : public testing::TestWithParam<const char*> {};

TEST_P(SentencePieceGolden, GivesTheLibrarysIdsAndText) {
  const Tokenizer tokenizer = load_tokenizer_file(kGolden + GetParam() + "/tokenizer.model");
  std::ifstream file(kGolden + GetParam() + "/cases.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const nlohmann::json c = nlohmann::json::parse(line);
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(c["text"].get<std::string>(), true), ids) << line;
    if (c.contains("decoded")) {
      EXPECT_EQ(tokenizer.decode(ids, false), c["decoded"].get<std::string>()) << line;
    }
  }
  EXPECT_EQ(cases, 26);
}

INSTANTIATE_TEST_SUITE_P(All, SentencePieceGolden, testing::Values("bpe", "unigram", "no_space_before"),
                         [](const auto& info) { return std::string(info.param); });

class SentencePieceConfig : public testing::Test {
 protected:
  std::string decoded(const std::string& config, const std::string& text) {
    folder_.write("tokenizer_config.json", config);
    const Tokenizer tokenizer = load_tokenizer_file(folder_ / "tokenizer.model");
    ids_ = tokenizer.encode(text, true);
    return tokenizer.decode(ids_, false);
  }
  TestFolder folder_;
  std::vector<int32_t> ids_;

 private:
  void SetUp() override { folder_.write("tokenizer.model", read_bytes(kGolden + "bpe/tokenizer.model")); }
};

TEST_F(SentencePieceConfig, SpecialTokensInTheText) {
  EXPECT_EQ(decoded("{}", "read</s>write"), "read</s>write");
  EXPECT_EQ(std::ranges::count(ids_, 2), 1) << "one id, not its letters";
  EXPECT_EQ(decoded(R"({"legacy": true})", "read</s>write"), "read</s> write");
}

TEST_F(SentencePieceConfig, BosAndEosAsAskedFor) {
  EXPECT_EQ(decoded("{}", "read"), "read");
  EXPECT_EQ(decoded(R"({"add_bos_token": true, "add_eos_token": true})", "read"), "<s> read</s>");
  EXPECT_EQ(ids_.front(), 1);
  EXPECT_EQ(ids_.back(), 2);
}

TEST_F(SentencePieceConfig, AddedTokens) {
  decoded(R"({"added_tokens_decoder": {"500": {"content": "<|end|>", "special": true}}})", "read<|end|>");
  EXPECT_EQ(ids_.back(), 500);
}

TEST_F(SentencePieceConfig, DamagedFilesAreTheCallersFault) {
  const std::string whole = read_bytes(kGolden + "bpe/tokenizer.model");
  for (const std::string& bytes : {std::string(), std::string("no model"), whole.substr(0, whole.size() / 2)}) {
    folder_.write("damaged.model", bytes);
    expect_caller_error([&] { load_tokenizer_file(folder_ / "damaged.model"); }, "is no SentencePiece model");
  }
}

}  // namespace
}  // namespace plimsoll
