// Ids and decoded text of the reference tokenizers, exact. See tests/golden/tokenizer.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "data/tokenizer/tokenizer.h"

namespace plimsoll {
namespace {

const std::string kGolden = std::string(PLIMSOLL_TEST_DATA) + "/golden/tokenizer/";

std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  StreamDecoder stream(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) text += stream.put(id);
  return text + stream.finish();
}

class TokenizerGolden : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, GivesTheReferenceIdsAndText) {
  const std::string folder = kGolden + GetParam();
  const Tokenizer tokenizer = load_tokenizer_file(folder + "/tokenizer.json");
  std::ifstream file(folder + "/cases.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const nlohmann::json c = nlohmann::json::parse(line);
    const auto text = c["text"].get<std::string>();
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    if (c.contains("pair")) {
      const PairEncoding pair = tokenizer.encode_pair(text, c["pair"].get<std::string>(), true);
      EXPECT_EQ(pair.ids, ids) << line;
      EXPECT_EQ(pair.type_ids, c["type_ids"].get<std::vector<int32_t>>()) << line;
    } else {
      EXPECT_EQ(tokenizer.encode(text, true), ids) << line;
      EXPECT_EQ(tokenizer.encode(text, false), c.value("ids_without_special", ids)) << line;
      EXPECT_EQ(tokenizer.decode(ids, true), c.value("decoded_skip_special", c["decoded"].get<std::string>())) << line;
      EXPECT_EQ(tokenizer.encode(text, true), ids) << "the cached answer for " << line;
    }
    const auto decoded = c["decoded"].get<std::string>();
    EXPECT_EQ(tokenizer.decode(ids, false), decoded) << line;
    EXPECT_EQ(streamed(tokenizer, ids, false), decoded) << line;
  }
  EXPECT_GT(cases, 80);
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerGolden,
                         testing::Values("added_token_flags", "gemma_spm", "gpt2_bpe", "gpt2_bpe_prefix_space",
                                         "ignore_merges", "llama2_spm", "llama3_split", "metaspace_first_spm",
                                         "qwen2_split_nfc", "template_bos_eos", "unigram", "unigram_byte_fallback"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace plimsoll
