#include "base/wrap.h"

#include <gtest/gtest.h>

namespace plimsoll {
namespace {

TEST(WrapLines, BreaksAtBlanks) {
  EXPECT_EQ(wrap_lines("  one two three\nfour\n", 9), "  one two\n      three\nfour\n");
  EXPECT_EQ(wrap_lines("abcdefghij klm", 5), "abcdefghij\n    klm");
  EXPECT_EQ(wrap_lines("\033[31mred\033[0m blue", 8), "\033[31mred\033[0m blue");
  EXPECT_EQ(wrap_lines("ein Öl ä ü", 6), "ein Öl\n    ä\n    ü");
  EXPECT_EQ(wrap_lines("aa|bb|cc", 6), "aa|bb|\n    cc");
  EXPECT_EQ(wrap_lines("      \n\nx", 3), "      \n\nx");
}

}  // namespace
}  // namespace plimsoll
