#include "base/text.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "base/words.h"

namespace plimsoll {
namespace {

TEST(Text, NumbersAreTheWholeText) {
  EXPECT_EQ(parse_integer("42"), 42);
  EXPECT_EQ(parse_integer("+7"), 7);
  EXPECT_EQ(parse_integer("-3"), -3);
  for (const char* bad : {"", "+", "+-3", "4.0", "4 ", " 4", "0x10", "99999999999999999999"})
    EXPECT_FALSE(parse_integer(bad)) << bad;
  EXPECT_EQ(parse_number("1e-4"), 1e-4);
  EXPECT_EQ(parse_number(".5"), 0.5);
  for (const char* bad : {"", "nan", "inf", "-inf", "1e999", "1,5", "1e-4x"}) EXPECT_FALSE(parse_number(bad)) << bad;
}

TEST(Text, ThousandsAndDurations) {
  EXPECT_EQ(format_thousands(0), "0");
  EXPECT_EQ(format_thousands(999), "999");
  EXPECT_EQ(format_thousands(-1000), "-1,000");
  EXPECT_EQ(format_thousands(134515008), "134,515,008");
  EXPECT_EQ(format_thousands(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
  EXPECT_EQ(format_duration(0.4), "0:00");
  EXPECT_EQ(format_duration(190), "3:10");
  EXPECT_EQ(format_duration(3729), "1:02:09");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "?");
}

TEST(Text, NearestName) {
  const std::array<std::string_view, 5> names = {"seq-len", "steps", "micro-batch", "lr", "lr-schedule"};
  EXPECT_EQ(nearest_name("seq_len", names), "seq-len");
  EXPECT_EQ(nearest_name("seqlen", names), "seq-len");
  EXPECT_EQ(nearest_name("step", names), "steps");
  EXPECT_EQ(nearest_name("setps", names), "steps");
  EXPECT_EQ(nearest_name("micro", names), "micro-batch");
  EXPECT_EQ(nearest_name("LR", names), "lr");
  EXPECT_EQ(nearest_name("banana", names), "");
}

TEST(Text, OneLineHoldsNoControlCharacters) {
  EXPECT_EQ(one_line("a\nb\t\x01\xff é"), "a\\nb\\t\\x01\\xff é");
  EXPECT_EQ(one_line("\xc2\x9b"
                     "31m\xc2\xa0"),
            "\\x9b31m\xc2\xa0")
      << "the terminal's own commands";
  EXPECT_EQ(one_line(std::string(10, 'x'), 4), "xxxx…");
  EXPECT_TRUE(is_valid_utf8("héllo \xF0\x9F\x98\x80"));
  for (const char* bad : {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xe2\x82", "\xf4\x90\x80\x80"})
    EXPECT_FALSE(is_valid_utf8(bad));
}

TEST(Text, ListsAreSplitAndTrimmed) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(split_list("q_proj, v_proj\t,up", ','), (Parts{"q_proj", "v_proj", "up"}));
  EXPECT_EQ(split_list("a;;b c;", ';'), (Parts{"a", "", "b c", ""}));
  EXPECT_EQ(split_list("", ','), Parts{""});
  EXPECT_EQ(split_list("  ", ','), Parts{""});
}

TEST(Text, BareNamesAreLettersAndDigits) {
  EXPECT_EQ(lower_case("DeepSpeed ZeRO-3"), "deepspeed zero-3");
  EXPECT_EQ(bare_name("H100 80GB-SXM"), "h10080gbsxm");
  EXPECT_EQ(bare_name("·"), "");
}

}  // namespace
}  // namespace plimsoll
