#include "base/csv.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll {
namespace {

TEST(Csv, QuotesCommasLineEndsAndComments) {
  const CsvTable table = parse_csv("# a note, with a comma\r\na,b\r\n\"x, \"\"y\"\"\",\"two\nlines\"\n\n1,\n", "t.csv");
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[0][0], "x, \"y\"");
  EXPECT_EQ(table.rows[0][1], "two\nlines");
  EXPECT_EQ(table.rows[1], (std::vector<std::string>{"1", ""}));
  EXPECT_EQ(table.column("b", "t.csv"), 1U);
  EXPECT_THROW(table.column("c", "t.csv"), Error);
}

TEST(Csv, LinesMayEndWithACarriageReturnAlone) {
  const CsvTable table = parse_csv("a,b\r1,2\r\n3,4\r", "x.csv");
  EXPECT_EQ(table.rows, (std::vector<std::vector<std::string>>{{"1", "2"}, {"3", "4"}}));
}

TEST(Csv, RefusesTwoColumnsOfOneName) {
  EXPECT_THROW(parse_csv("id,id\n1,2\n", "x.csv"), Error);
  EXPECT_NO_THROW(parse_csv("id,,\n1,2,3\n", "x.csv"));
}

TEST(Csv, WhatIsWrittenReadsBackTheSame) {
  const std::string hard = "a \"b\", c\nd";
  EXPECT_EQ(parse_csv("h\n" + csv_cell(hard) + "\n", "t").rows.at(0).at(0), hard);
}

TEST(Csv, RefusesRaggedRowsAndOpenQuotes) {
  EXPECT_THROW(parse_csv("a,b\n1\n", "t"), Error);
  EXPECT_THROW(parse_csv("a\n\"1\n", "t"), Error);
  EXPECT_THROW(parse_csv("", "t"), Error);
}

}  // namespace
}  // namespace plimsoll
