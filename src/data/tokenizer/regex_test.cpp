#include "data/tokenizer/regex.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"

namespace plimsoll::tokenizer {
namespace {

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  const Regex regex(pattern, "test");
  RegexScratch scratch;
  std::vector<std::string> out;
  for_each_match(regex, text, scratch, [&](size_t begin, size_t end, bool match) {
    if (match) out.emplace_back(text.substr(begin, end - begin));
  });
  return out;
}

using Texts = std::vector<std::string>;

TEST(Regex, MeansWhatOnigurumaMeans) {
  EXPECT_EQ(matches("\\s+",
                    "a\xc2\x85 \xe3\x80\x80"
                    "b\xe1\xa0\x8e"
                    "c"),
            Texts{"\xc2\x85 \xe3\x80\x80"});  // U+180E is no space
  EXPECT_EQ(matches("[^\\s]+", "a b"), (Texts{"a", "b"}));
  EXPECT_EQ(matches("[\\S]+", "a b\xe1\xa0\x8e"), (Texts{"a", "b\xe1\xa0\x8e"}));
  EXPECT_EQ(matches("\\w+", "a_1 e\xcc\x81 \xe2\x93\x90 \xc2\xb2"),
            (Texts{"a_1", "e\xcc\x81", "\xe2\x93\x90"}));  // ² is no word character
  EXPECT_EQ(matches("\\h+", "12fg"), Texts{"12f"});
  EXPECT_EQ(matches("\\d+", "1\xd9\xa1\xc2\xbd"), Texts{"1\xd9\xa1"});
  EXPECT_EQ(matches("(?i:'s)", "'S'\xc5\xbf"), (Texts{"'S", "'\xc5\xbf"}));  // long s folds to s
  EXPECT_EQ(matches("^a$", "b\na\nc"), Texts{"a"});
  EXPECT_EQ(matches("\\p{Han}+", "\xe4\xb8\x96\xe3\x80\x82\xe7\x95\x8c"),
            (Texts{"\xe4\xb8\x96", "\xe7\x95\x8c"}));  // the script, not its extensions
  EXPECT_EQ(matches("\\p{^L}+", "a12b"), Texts{"12"});
  EXPECT_EQ(matches("[[:punct:]]+", "a!$\xc2\xa2?b"), Texts{"!$\xc2\xa2?"});  // with symbols
  EXPECT_EQ(matches("\\p{Punct}+", "a!$?b"), (Texts{"!", "?"}));              // without
  EXPECT_EQ(matches("\\b[^ ]", "e\xcc\x81z -z"), (Texts{"e", "z"}));          // a mark is part of a word
  EXPECT_EQ(matches("z\\B", "az zb"), Texts{"z"});
  EXPECT_EQ(matches("[a-z&&[^c]]+", "abcd"), (Texts{"ab", "d"}));
  EXPECT_EQ(matches("[a[bc]]+", "abcd"), Texts{"abc"});
  EXPECT_EQ(matches("[\\u4e16]", "\xe4\xb8\x96"), Texts{"\xe4\xb8\x96"});
}

TEST(Regex, LiteralsMatchThemselves) {
  const Regex regex = Regex::literal("a.*[\\E", "test");
  RegexScratch scratch;
  size_t begin = 0, end = 0;
  EXPECT_TRUE(regex.search("xa.*[\\Ey", 0, scratch, begin, end));
  EXPECT_EQ(begin, 1u);
  EXPECT_EQ(end, 7u);
}

TEST(Regex, EmptyMatchesMoveOn) {
  EXPECT_EQ(matches("x*", "ax\xc3\xa9"), (Texts{"", "x", ""}));
  EXPECT_EQ(matches("", ""), Texts{""});
}

TEST(Regex, RefusesWhatItDoesNotKnow) {
  for (const char* pattern : {"\\K", "\\X", "(", "[", "[]", "\\p{", "\\p{Klingon}", "[a&&]", "\\u12", "\\", "[\\W]"})
    EXPECT_THROW(Regex(pattern, "test"), Error) << pattern;
}

}  // namespace
}  // namespace plimsoll::tokenizer
