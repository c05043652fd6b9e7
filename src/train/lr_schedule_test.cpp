#include "train/lr_schedule.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

namespace plimsoll {
namespace {

// Rates of transformers' schedules: lr 3e-4, 10 of 100 steps of warm-up.
TEST(LrSchedule, EqualsTransformers) {
  struct Column {
    LrScheduleKind kind;
    int64_t warmup_steps;
  };
  const Column columns[] = {{LrScheduleKind::constant, 0},
                            {LrScheduleKind::constant, 10},
                            {LrScheduleKind::linear, 10},
                            {LrScheduleKind::cosine, 10},
                            {LrScheduleKind::cosine, 0}};
  std::ifstream file(PLIMSOLL_TEST_DATA "/golden/schedules/schedules.csv");
  std::string line, cell;
  std::getline(file, line);
  ASSERT_EQ(line, "step,constant,constant_warmup,linear,cosine,cosine_no_warmup");
  int rows = 0;
  while (std::getline(file, line)) {
    std::istringstream cells(line);
    std::getline(cells, cell, ',');
    const int64_t step = std::stoll(cell);
    for (const Column& column : columns) {
      std::getline(cells, cell, ',');
      EXPECT_NEAR(lr_of_step(column.kind, 3e-4, step, column.warmup_steps, 100), std::stod(cell), 1e-12)
          << "step " << step;
    }
    ++rows;
  }
  EXPECT_EQ(rows, 100);
}

TEST(LrSchedule, Edges) {
  EXPECT_EQ(lr_of_step(LrScheduleKind::linear, 1.0, 100, 10, 100), 0.0);
  EXPECT_EQ(lr_of_step(LrScheduleKind::linear, 1.0, 500, 10, 100), 0.0);
  EXPECT_NEAR(lr_of_step(LrScheduleKind::cosine, 1.0, 100, 10, 100), 0.0, 1e-15);
  EXPECT_EQ(lr_of_step(LrScheduleKind::cosine, 1.0, 5, 10, 3), 0.5);  // a warm-up longer than the run
  EXPECT_EQ(lr_of_step(LrScheduleKind::linear, 1.0, 0, 0, 0), 0.0);
  EXPECT_EQ(lr_of_step(LrScheduleKind::constant, 1.0, 0, 0, 1), 1.0);
}

}  // namespace
}  // namespace plimsoll
