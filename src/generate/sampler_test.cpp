#include "generate/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace plimsoll {
namespace {

// tests/tools/make_sampling_golden.py
TEST(Sampler, LeavesWhatTheProcessorsOfTransformersLeave) {
  std::ifstream file(PLIMSOLL_TEST_DATA "/golden/sampling/cases.json");
  const auto cases = nlohmann::json::parse(file);
  ASSERT_EQ(cases.size(), 16U);
  for (const auto& c : cases) {
    SamplingOptions options;
    const auto& setting = c["setting"];
    options.temperature = setting.value("temperature", 1.0);
    options.top_k = setting.value("top_k", 0);
    options.top_p = setting.value("top_p", 1.0);
    options.min_p = setting.value("min_p", 0.0);
    options.repetition_penalty = setting.value("repetition_penalty", 1.0);
    Sampler sampler(options);
    std::vector<double> found(40, 0.0);
    double before = 1;
    for (const auto& [id, probability] :
         sampler.candidates(c["logits"].get<std::vector<float>>(), c["ids"].get<std::vector<int32_t>>())) {
      found[static_cast<size_t>(id)] = probability;
      EXPECT_LE(probability, before);
      before = probability;
    }
    const auto expected = c["probabilities"].get<std::vector<double>>();
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i], expected[i], 1e-6) << setting << " token " << i;
      EXPECT_EQ(found[i] == 0, expected[i] == 0) << setting << " token " << i;
    }
  }
}

TEST(Sampler, DrawsByTheseProbabilities) {
  SamplingOptions options;
  options.temperature = 1;
  options.top_k = 3;
  options.seed = 5;
  const std::vector<float> logits = {0.0F, 1.0F, -5.0F, 0.5F};
  Sampler sampler(options);
  std::vector<double> expected(4, 0.0);
  for (const auto& [id, probability] : sampler.candidates(logits, {})) expected[static_cast<size_t>(id)] = probability;
  constexpr int kDraws = 20000;
  std::vector<int> drawn(4, 0);
  for (int i = 0; i < kDraws; ++i) ++drawn[static_cast<size_t>(sampler.next(logits, {}))];
  for (size_t i = 0; i < 4; ++i) {
    const double sigma = std::sqrt(kDraws * expected[i] * (1 - expected[i]));
    EXPECT_NEAR(drawn[i], kDraws * expected[i], 5 * sigma + 1e-9) << i;
  }
  Sampler again(options), other(options);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(again.next(logits, {}), other.next(logits, {}));
}

TEST(Sampler, GreedyTakesTheFirstLargestAfterThePenalty) {
  SamplingOptions options;
  EXPECT_EQ(Sampler(options).next(std::vector<float>{1, 3, 3}, {}), 1);
  options.repetition_penalty = 2;
  const std::vector<int32_t> previous = {1, 1, 7, -1};  // ids that the model does not have count for nothing
  EXPECT_EQ(Sampler(options).next(std::vector<float>{1, 3, 2}, previous), 2);
  EXPECT_EQ(Sampler(options).next(std::vector<float>{-3, -2, -5}, previous), 0);
}

}  // namespace
}  // namespace plimsoll
