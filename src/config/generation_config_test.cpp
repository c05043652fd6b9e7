#include "config/generation_config.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll {
namespace {

TEST(GenerationConfig, EndTokens) {
  const auto ends = [](const char* json) { return parse_generation_config(json, "g.json").eos_token_ids; };
  using Ids = std::vector<int64_t>;
  EXPECT_EQ(ends("{}"), Ids());
  EXPECT_EQ(ends(R"({"eos_token_id": null, "temperature": 0.6})"), Ids());
  EXPECT_EQ(ends(R"({"eos_token_id": 2})"), Ids{2});
  EXPECT_EQ(ends(R"({"bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009]})"),
            (Ids{128001, 128008, 128009}));
  for (const char* bad : {"", "{", "[]", "7", R"({"eos_token_id": "2"})", R"({"eos_token_id": [2, "x"]})",
                          R"({"eos_token_id": -1})", R"({"eos_token_id": 2.0})", R"({"eos_token_id": [[2]]})",
                          R"({"eos_token_id": 99999999999})", R"({"eos_token_id": 18446744073709551615})"}) {
    try {
      ends(bad);
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::caller) << bad;
      EXPECT_EQ(error.thing(), "g.json");
    }
  }
}

TEST(GenerationConfig, Sampling) {
  const GenerationConfig none = parse_generation_config("{}", "g.json");
  EXPECT_FALSE(none.do_sample || none.temperature || none.top_k || none.top_p || none.repetition_penalty);
  const GenerationConfig some = parse_generation_config(
      R"({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.05})", "g.json");
  EXPECT_TRUE(some.do_sample);
  EXPECT_EQ(some.temperature, 0.6);
  EXPECT_EQ(some.top_k, 20);
  EXPECT_EQ(some.top_p, 0.95);
  EXPECT_EQ(some.repetition_penalty, 1.05);
  EXPECT_THROW(parse_generation_config(R"({"temperature": "hot"})", "g.json"), Error);
}

}  // namespace
}  // namespace plimsoll
