// Predictions beside what people published (tests/golden/measured/published.csv): how far off they are, and how often
// the printed interval holds the figure. The limits are what was reached, with little room.
#include <gtest/gtest.h>

#include "engines/measured/measured_rows.h"
#include "engines/measured/row_time.h"
#include "engines/measured/validation.h"

namespace plimsoll {
namespace {

const std::string kFolder = std::string(PLIMSOLL_TEST_DATA) + "/golden/measured";

const ErrorSummary& summary_of(std::string_view quantity) {
  static const std::vector<ErrorSummary> all = summarize(validate_rows(
      read_measured_rows(read_csv(kFolder + "/published.csv"), kFolder, "published.csv"), make_time_model()));
  for (const ErrorSummary& summary : all)
    if (summary.source.empty() && summary.quantity == quantity) return summary;
  throw std::logic_error("no such quantity");
}

double share_inside(const ErrorSummary& summary) {
  return static_cast<double>(summary.inside) / static_cast<double>(summary.used);
}

TEST(PublishedRows, Memory) {
  const ErrorSummary& memory = summary_of("memory_gib");
  EXPECT_GE(memory.used, 417u);
  EXPECT_LT(memory.median, 0.038);
  EXPECT_LT(memory.p90, 0.145);
}

TEST(PublishedRows, Steps) {
  const ErrorSummary& steps = summary_of("step_seconds");
  EXPECT_GE(steps.used, 480u);
  EXPECT_LT(steps.median, 0.058);
  EXPECT_LT(steps.p90, 0.25);
}

TEST(PublishedRows, Rates) {
  const ErrorSummary& rates = summary_of("tokens_per_second");
  EXPECT_GE(rates.used, 650u);
  EXPECT_LT(rates.median, 0.067);
  EXPECT_LT(rates.p90, 0.285);
}

TEST(PublishedRows, MostRowsAreUsed) {
  for (const std::string_view quantity : {"memory_gib", "step_seconds", "tokens_per_second"}) {
    const ErrorSummary& summary = summary_of(quantity);
    EXPECT_GT(10 * summary.used, 6 * (summary.used + summary.left_out)) << quantity;
  }
}

// Too narrow would be a lie, too wide would say nothing.
TEST(PublishedRows, IntervalsHoldNineOfTen) {
  for (const std::string_view quantity : {"memory_gib", "step_seconds", "tokens_per_second"}) {
    EXPECT_GE(share_inside(summary_of(quantity)), 0.88) << quantity;
    EXPECT_LE(share_inside(summary_of(quantity)), 0.96) << quantity;
  }
}

}  // namespace
}  // namespace plimsoll
