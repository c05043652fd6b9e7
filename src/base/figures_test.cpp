#include "base/figures.h"

#include <gtest/gtest.h>

#include <limits>

namespace plimsoll {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Figures, Numbers) {
  EXPECT_EQ(format_number(1320.4), "1,320");
  EXPECT_EQ(format_number(144487), "144,487");
  EXPECT_EQ(format_number(999.5), "1,000");
  EXPECT_EQ(format_number(99.96), "100");
  EXPECT_EQ(format_number(99.94), "99.9");
  EXPECT_EQ(format_number(52.64), "52.6");
  EXPECT_EQ(format_number(0.3051), "0.305");
  EXPECT_EQ(format_number(0), "0");
  EXPECT_EQ(format_number(-1320.4), "-1,320");
  EXPECT_EQ(format_number(0.000012), "1.2e-5");
  EXPECT_EQ(format_number(1e22), "1e22");
  EXPECT_EQ(format_number(kInfinity), "-");
}

TEST(Figures, CountsAndPowers) {
  EXPECT_EQ(format_count(950), "950");
  EXPECT_EQ(format_count(1320), "1.32 k");
  EXPECT_EQ(format_count(999960), "1 M");  // not 1,000 k
  EXPECT_EQ(format_count(8.03e9), "8.03 B");
  EXPECT_EQ(format_count(1.01e12), "1.01 T");
  EXPECT_EQ(format_count(6.2e16), "62,000 T");
  EXPECT_EQ(format_count(kInfinity), "-");
  EXPECT_EQ(format_power(1e22), "1e22");
  EXPECT_EQ(format_power(1.049e22), "1.05e22");
  EXPECT_EQ(format_power(1.2e-5), "1.2e-5");
}

TEST(Figures, MoneyAndTime) {
  EXPECT_EQ(format_usd(0.256), "0.26");
  EXPECT_EQ(format_usd(51.2), "51.20");
  EXPECT_EQ(format_usd(1234.4), "1,234");
  EXPECT_EQ(format_usd(999.996), "1,000");
  EXPECT_EQ(format_seconds(0.834), "0.834 s");
  EXPECT_EQ(format_seconds(119), "119 s");
  EXPECT_EQ(format_seconds(1518), "25.3 min");
  EXPECT_EQ(format_seconds(6700), "112 min");
  EXPECT_EQ(format_seconds(7200), "2 h");
  EXPECT_EQ(format_seconds(1e6), "11.6 days");
  EXPECT_EQ(format_seconds(1e9), "11,574 days");
  EXPECT_EQ(format_seconds(kInfinity), "-");
}

}  // namespace
}  // namespace plimsoll
