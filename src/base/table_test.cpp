#include "base/table.h"

#include <gtest/gtest.h>

#include "base/wrap.h"

namespace plimsoll {
namespace {

using Rows = std::vector<std::vector<std::string>>;

TEST(Table, ColumnsAreAsWideAsTheirCells) {
  const std::vector<Column> columns = {{"name", true}, {"bytes"}, {"at most\nusers"}};
  EXPECT_EQ(table_text(columns, Rows{{"a", "1,234,567", "3"}, {"größer", "1", "-"}}),
            "                     at most\n"
            "  name        bytes    users\n"
            "  a       1,234,567        3\n"
            "  größer          1        -\n");
}

TEST(Table, AShorterRowRunsOn) {
  const std::vector<Column> columns = {{"", true}, {"a"}, {"b"}};
  EXPECT_EQ(table_text(columns, Rows{{"first", "1", "2"}, {"second", "does not fit: a long reason"}}, 0),
            "        a  b\n"
            "first   1  2\n"
            "second  does not fit: a long reason\n");
}

TEST(Table, NoLineIsWiderThanATerminal) {
  const std::vector<Column> columns = {{"plan", true}, {"devices"}, {"bytes"}};
  const std::string wide(50, 'n'), figure(15, '9');
  const std::string text = table_text(columns, Rows{{wide, figure, figure}, {"short", "1", "2"}});
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    EXPECT_LE(text_columns(text.substr(begin, end - begin)), kTableColumns);
    begin = end + 1;
  }
  const std::string longer(70, 'n');
  const std::string broken = table_text(columns, Rows{{longer, figure, figure}, {"short", "1", "2"}});
  EXPECT_NE(broken.find("\n  " + longer + "\n"), std::string::npos);
  EXPECT_NE(broken.find(std::string(4, ' ') + figure + " " + figure + "\n"), std::string::npos);
  EXPECT_NE(broken.find("\n  short"), std::string::npos);
}

TEST(Table, AWideHeadGetsALineOfItsOwn) {
  const std::vector<Column> columns = {{"quantity and source", true}, {"figure"}};
  const std::string figure(70, '9');
  EXPECT_EQ(table_text(columns, Rows{{"all", figure}}, 0),
            "quantity and source\n" + std::string(74, ' ') + "figure\nall       " + figure + "\n");
}

TEST(Table, NoHeads) {
  const std::vector<Column> columns = {{"", true}, {""}};
  EXPECT_EQ(table_text(columns, Rows{{"weights", "12"}}), "  weights  12\n");
}

}  // namespace
}  // namespace plimsoll
