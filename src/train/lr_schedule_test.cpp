#include "train/lr_schedule.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace plimsoll {
namespace {

// Rates of transformers' schedules, of the columns that are ours.
TEST(LrSchedule, EqualsTransformers) {
  struct Column {
    const char* name;
    LrScheduleKind kind;
    bool warms_up;
  };
  const Column columns[] = {{"constant", LrScheduleKind::constant, false},
                            {"constant_warmup", LrScheduleKind::constant, true},
                            {"linear", LrScheduleKind::linear, true},
                            {"cosine", LrScheduleKind::cosine, true},
                            {"cosine_no_warmup", LrScheduleKind::cosine, false}};
  const std::string folder = PLIMSOLL_TEST_DATA "/golden/schedules/";
  std::ifstream settings_file(folder + "schedules.json"), file(folder + "schedules.csv");
  const nlohmann::json settings = nlohmann::json::parse(settings_file);
  const int64_t steps = settings.at("steps"), warmup = settings.at("warmup");
  std::string line, cell;
  std::getline(file, line);
  ASSERT_TRUE(line.starts_with("step,constant,constant_warmup,linear,cosine,cosine_no_warmup")) << line;
  int64_t rows = 0;
  for (; std::getline(file, line); ++rows) {
    std::istringstream cells(line);
    std::getline(cells, cell, ',');
    const int64_t step = std::stoll(cell);
    for (const Column& column : columns) {
      std::getline(cells, cell, ',');
      EXPECT_NEAR(lr_of_step(column.kind, settings.at("lr"), step, column.warms_up ? warmup : 0, steps),
                  std::stod(cell), 1e-12)
          << column.name << ", step " << step;
    }
  }
  EXPECT_EQ(rows, steps);
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
