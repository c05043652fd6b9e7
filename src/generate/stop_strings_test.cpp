#include "generate/stop_strings.h"

#include <gtest/gtest.h>

namespace plimsoll {
namespace {

// What is given out piece by piece, with | behind each.
std::string given(const std::vector<std::string>& stops, const std::vector<std::string>& pieces, bool& found) {
  StopStrings filter(stops);
  std::string out;
  for (const std::string& piece : pieces) out += filter.put(piece) + "|";
  out += filter.finish();
  found = filter.found();
  return out;
}

TEST(StopStrings, AreFoundAcrossPieces) {
  bool found = false;
  EXPECT_EQ(given({"END"}, {"a", "bEN", "Dc", "d"}, found), "a|b|||");
  EXPECT_TRUE(found);
  EXPECT_EQ(given({"END"}, {"aE", "N", "D"}, found), "a|||");
  EXPECT_TRUE(found);
  EXPECT_EQ(given({"\n\n"}, {"x\n", "y\n", "\nz"}, found), "x|\ny||");
  EXPECT_TRUE(found);
  EXPECT_EQ(given({"b", "ab"}, {"xabc"}, found), "x|");  // the first place of any
  EXPECT_TRUE(found);
  EXPECT_EQ(given({"aab"}, {"a", "a", "a", "b"}, found), "||a||");
  EXPECT_TRUE(found);
}

TEST(StopStrings, GiveBackWhatWasNoStop) {
  bool found = true;
  EXPECT_EQ(given({"END"}, {"aE", "Nx", "E"}, found), "a|ENx||E");
  EXPECT_FALSE(found);
  EXPECT_EQ(given({}, {"a", "b"}, found), "a|b|");
  EXPECT_EQ(given({""}, {"a"}, found), "a|");
  EXPECT_FALSE(found);
  EXPECT_EQ(given({"€!"}, {"1€", "€", "?"}, found), "1|€|€?|");  // whole characters
  EXPECT_FALSE(found);
}

}  // namespace
}  // namespace plimsoll
