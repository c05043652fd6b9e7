#include "train/loss_scale.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support/test_files.h"

namespace plimsoll {
namespace {

// The scales of PyTorch's run follow from which of its steps overflowed.
TEST(LossScale, FollowsGradScaler) {
  const std::string folder = golden_path("training/fp16-loss-scaling/llama_tied");
  const auto method = nlohmann::json::parse(read_bytes(folder + "/method.json"));
  std::ifstream file(folder + "/steps.csv");
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  ASSERT_EQ(line, "step,loss,lr,grad_norm,target_tokens,scale_used,skipped");
  LossScaleState state{method.at("init_scale"), 0, 0};
  int64_t skipped = 0, steps = 0;
  for (; std::getline(file, line); ++steps) {
    std::istringstream cells(line);
    std::vector<std::string> row;
    for (std::string cell; std::getline(cells, cell, ',');) row.push_back(cell);
    EXPECT_EQ(state.scale, std::stod(row.at(5))) << "step " << steps;
    const bool overflow = row.at(6) == "1";
    skipped += overflow ? 1 : 0;
    update_loss_scale(state, overflow, method.at("growth_interval"));
    EXPECT_EQ(state.skipped_steps, skipped);
  }
  EXPECT_EQ(steps, 20);
  EXPECT_GT(skipped, 3);
}

}  // namespace
}  // namespace plimsoll
