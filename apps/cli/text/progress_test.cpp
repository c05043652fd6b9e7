#include "cli/text/progress.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/bytes.h"

namespace plimsoll::cli {
namespace {

TrainProgress example() {
  return {.step = 12,
          .steps = 120,
          .loss = 2.31,
          .tokens_per_second = 1850.4,
          .resident_bytes = 812 * kMiB,
          .memory_bytes = 1024 * kMiB,
          .seconds_left = 190};
}

TEST(Progress, CountsSkippedSteps) {
  TrainProgress progress = example();
  progress.loss_scale = 32768;
  EXPECT_EQ(progress_text(progress, Terminal{.width = 200}).find("skipped"), std::string::npos);
  progress.skipped_steps = 3;
  EXPECT_NE(progress_text(progress, Terminal{.width = 200}).find("  skipped 3, loss × 32768  eta 3:10"),
            std::string::npos);
}

TEST(Progress, ShowsUseAgainstTheLine) {
  EXPECT_EQ(progress_text(example(), Terminal{}),
            "step 12/120  loss 2.310  1,850 tok/s  [█████████░░] 812 of 1,024 MiB  eta 3:10");
  EXPECT_EQ(progress_text(example(), Terminal{.unicode = false}),
            "step 12/120  loss 2.310  1,850 tok/s  [#########..] 812 of 1,024 MiB  eta 3:10");
}

TEST(Progress, FitsTheTerminal) {
  for (int width = 1; width < 90; ++width)
    EXPECT_LT(text_columns(progress_text(example(), Terminal{.width = width})), width) << width;
  EXPECT_EQ(progress_text(example(), Terminal{.width = 40}), "step 12/120  loss 2.310  1,850 tok/s");
}

TEST(Progress, OddNumbers) {
  TrainProgress progress = example();
  progress.memory_bytes = 0;
  progress.loss = std::numeric_limits<double>::quiet_NaN();
  progress.tokens_per_second = std::numeric_limits<double>::infinity();
  progress.seconds_left = -1;
  EXPECT_EQ(progress_text(progress, Terminal{}), "step 12/120  loss nan  812 MiB  eta ?");
}

TEST(Bar, ClampsItsShare) {
  const Terminal ascii{.unicode = false};
  EXPECT_EQ(bar(-1, 4, ascii), "....");
  EXPECT_EQ(bar(0.5, 4, ascii), "##..");
  EXPECT_EQ(bar(7, 4, ascii), "####");
  EXPECT_EQ(bar(std::numeric_limits<double>::quiet_NaN(), 4, ascii), "....");
}

TEST(Terminal, FitsColumnsBetweenCharacters) {
  EXPECT_EQ(fit_columns("héllo", 2), "hé");
  EXPECT_EQ(fit_columns("hé", 9), "hé");
}

}  // namespace
}  // namespace plimsoll::cli
